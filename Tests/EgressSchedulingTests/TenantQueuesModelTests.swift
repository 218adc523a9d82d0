import TestSupport
import Testing

@testable import EgressScheduling

/// Start-time fair queueing over tenants in arrays, their flows as RFC 8290 says.
///
/// Where several tenants are equally entitled the model takes either: it follows the frame that
/// the scheduler chose, and tells whether that was one of those allowed.
private struct TenantModel {
    struct Tenant {
        var weight: Int
        var flows: FlowModel
        /// Bytes over weight, in units of 1/1,024.
        var key = 0
        var isReady = false
    }

    var tenants: [Int: Tenant] = [:]
    let capacity: Int
    let quantum: Int
    var clock = 0
    var turn: Int?
    var turnBytes = 0
    static let flowCount = 16

    var count: Int { tenants.values.reduce(0) { $0 + $1.flows.count } }

    mutating func add(_ tenant: Int, weight: Int) {
        if tenants[tenant] != nil {
            setWeight(weight, of: tenant)
            return
        }
        tenants[tenant] = Tenant(
            weight: weight,
            flows: FlowModel(
                flows: .init(repeating: .init(), count: Self.flowCount), capacity: .max,
                quantum: quantum))
    }

    mutating func setWeight(_ weight: Int, of tenant: Int) {
        guard let isReady = tenants[tenant]?.isReady else { return }
        if isReady { leave(tenant) }
        tenants[tenant]?.weight = weight
        if isReady { join(tenant) }
    }

    mutating func remove(_ tenant: Int) -> [Int32] {
        settle(tenant)
        let flows = tenants.removeValue(forKey: tenant)?.flows.flows ?? []
        return flows.flatMap { $0.frames.map(\.slot) }
    }

    mutating func enqueue(_ frame: FlowModel.Frame, tenant: Int, flow: Int) -> Bool {
        guard count < capacity, tenants[tenant] != nil else { return false }
        _ = tenants[tenant]?.flows.enqueue(frame, flow: flow)
        if tenants[tenant]?.isReady == false { join(tenant) }
        return true
    }

    /// - Returns: What is wrong with the choice of `tenant`, or the frame it has to be.
    mutating func dequeue(_ tenant: Int) -> (fault: String?, slot: Int32, isSparse: Bool)? {
        guard tenants[tenant]?.isReady == true else { return ("has nothing", 0, false) }
        let least = tenants.values.filter(\.isReady).map(\.key).min() ?? 0
        var fault: String?
        if turn == tenant && turnBytes < quantum && tenants[tenant]?.key == least {
            // Its turn goes on.
        } else {
            if let turn { settle(turn) }
            let least = tenants.values.filter(\.isReady).map(\.key).min() ?? 0
            if tenants[tenant]?.key != least { fault = "is not the first" }
            turn = tenant
            turnBytes = 0
            clock = max(clock, tenants[tenant]?.key ?? 0)
        }
        let before = tenants[tenant]?.flows.flows.reduce(0) { $0 + $1.byteCount } ?? 0
        guard let next = tenants[tenant]?.flows.dequeue() else { return nil }
        let after = tenants[tenant]?.flows.flows.reduce(0) { $0 + $1.byteCount } ?? 0
        turnBytes += before - after
        if tenants[tenant]?.flows.count == 0 { leave(tenant) }
        return (fault, next.slot, next.isSparse)
    }

    /// - Returns: What is wrong with dropping this frame; `nil` if nothing is.
    mutating func drop(_ slot: Int32, of tenant: Int) -> String? {
        func length(_ tenant: Tenant) -> Double {
            Double(tenant.flows.flows.reduce(0) { $0 + $1.byteCount }) / Double(tenant.weight)
        }
        let longest = tenants.values.filter(\.isReady).map(length).max() ?? 0
        guard let chosen = tenants[tenant], chosen.isReady else { return "has nothing" }
        if length(chosen) < longest * 0.999_999 { return "another tenant holds more" }
        let flows = chosen.flows.flows
        let longestFlow = flows.map(\.byteCount).max() ?? 0
        guard let flow = flows.firstIndex(where: { $0.frames.first?.slot == slot }) else {
            return "not the oldest of any flow"
        }
        if 2 * flows[flow].byteCount < longestFlow { return "another flow is twice as long" }
        tenants[tenant]?.flows.flows[flow].frames.removeFirst()
        if tenants[tenant]?.flows.count == 0 { leave(tenant) }
        return nil
    }

    private mutating func join(_ tenant: Int) {
        guard let weight = tenants[tenant]?.weight, let key = tenants[tenant]?.key else { return }
        tenants[tenant]?.key = max(key, max(0, clock - quantum * 1_024 / weight))
        tenants[tenant]?.isReady = true
    }

    private mutating func leave(_ tenant: Int) {
        settle(tenant)
        tenants[tenant]?.isReady = false
    }

    private mutating func settle(_ tenant: Int) {
        guard turn == tenant, let weight = tenants[tenant]?.weight else { return }
        tenants[tenant]?.key += turnBytes * 1_024 / weight
        turn = nil
        turnBytes = 0
    }
}

@Suite struct TenantQueuesModelTests {
    @Test(arguments: 0..<40)
    func everyStepEqualsTheModels(seed: UInt64) {
        print("tenant queues seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let numbers = Int.random(in: 1...7, using: &random)
        let capacity = Int.random(in: 1...80, using: &random)
        let quantum = [300, 1_514, 9_000, 65_535].randomElement(using: &random) ?? 300
        let weights = [[1], [1, 2, 3], [1, 10, 1_000]].randomElement(using: &random) ?? [1]
        var model = TenantModel(capacity: capacity, quantum: quantum)
        var queues = TenantQueues(frameCapacity: capacity, quantumBytes: quantum)
        var slot: Int32 = 0
        for step in 0..<4_000 {
            let place = "seed \(seed), step \(step)"
            let tenant = Int.random(in: 0..<numbers, using: &random)
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<48:
                slot += 1
                // Few flows are longer, many are more often empty.
                let flows = 1 << (tenant % 5)
                let flow = UInt32.random(in: 0..<UInt32(flows), using: &random)
                let size = Int.random(in: 0...20_000, using: &random)
                let expected = model.enqueue(
                    .init(slot: slot, size: size), tenant: tenant, flow: Int(flow))
                let isAdded = queues.enqueue(bulk(slot, of: tenant, flow: flow, size), now: 0)
                #expect(isAdded == expected, "\(place)")
            case 48..<90:
                guard let next = queues.dequeue(now: 0) else {
                    #expect(model.count == 0, "\(place)")
                    continue
                }
                let expected = model.dequeue(next.tenant)
                #expect(expected?.fault == nil, "\(place): \(expected?.fault ?? "")")
                #expect(expected?.slot == next.slot, "\(place)")
                #expect(expected?.isSparse == next.isSparse, "\(place)")
            case 90..<95:
                guard let dropped = queues.dropFromLongest() else {
                    #expect(model.count == 0, "\(place)")
                    continue
                }
                let fault = model.drop(dropped.slot, of: dropped.tenant)
                #expect(fault == nil, "\(place): \(fault ?? "")")
            case 95..<97:
                let weight = weights.randomElement(using: &random) ?? 1
                model.add(tenant, weight: weight)
                queues.add(tenant: tenant, limits: TenantLimits(weight: weight))
            case 97..<99:
                let weight = weights.randomElement(using: &random) ?? 1
                model.setWeight(weight, of: tenant)
                queues.setLimits(TenantLimits(weight: weight), of: tenant)
            default:
                var released: [Int32] = []
                queues.remove(tenant: tenant) { released.append($0) }
                #expect(released.sorted() == model.remove(tenant).sorted(), "\(place)")
            }
            let bytes = model.tenants.values.reduce(0) { sum, tenant in
                sum + tenant.flows.flows.reduce(0) { $0 + $1.byteCount }
            }
            let totals = [queues.count, queues.byteCount, queues.count(of: tenant)]
            #expect(
                totals == [model.count, bytes, model.tenants[tenant]?.flows.count ?? 0],
                "\(place)")
        }
    }

    /// With maxima and promises: nothing is lost, doubled or reordered, nobody exceeds a maximum,
    /// and the link stands still only while everybody waits for one.
    @Test(arguments: 0..<30)
    func nothingIsLostWhateverTheLimits(seed: UInt64) {
        print("tenant limits seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let numbers = Int.random(in: 1...6, using: &random)
        var queues = TenantQueues(
            frameCapacity: 200, quantumBytes: [1_514, 65_535].randomElement(using: &random) ?? 1)
        /// Frames of each flow of each tenant, in order.
        var waiting: [Int: [UInt32: [Int32]]] = [:]
        var capped: [Int: Bool] = [:]
        var now: UInt64 = 1_000_000_000
        var slot: Int32 = 0

        func limits() -> TenantLimits {
            let minimum = random.chance(percent: 40)
                ? Int64.random(in: 1_000...100_000_000, using: &random) : nil
            let maximum = random.chance(percent: 40)
                ? Int64.random(in: 100_000_000...500_000_000, using: &random) : nil
            let packets = random.chance(percent: 20)
                ? Int64.random(in: 100...100_000, using: &random) : nil
            return TenantLimits(
                weight: Int.random(in: 1...20, using: &random), minimumRate: minimum,
                maximumRate: maximum, maximumPacketsPerSecond: packets)
        }
        func isWaiting(_ tenant: Int) -> Bool {
            waiting[tenant]?.values.contains { !$0.isEmpty } ?? false
        }
        for step in 0..<6_000 {
            let place = "seed \(seed), step \(step)"
            let tenant = Int.random(in: 0..<numbers, using: &random)
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<45:
                slot += 1
                let hash = UInt32.random(in: 0..<8, using: &random)
                let size = random.chance(percent: 30)
                    ? Int.random(in: 20_000...65_535, using: &random)
                    : Int.random(in: 40...1_500, using: &random)
                let isAdded = queues.enqueue(bulk(slot, of: tenant, flow: hash, size), now: now)
                if isAdded { waiting[tenant, default: [:]][hash, default: []].append(slot) }
            case 45..<90:
                if let next = queues.dequeue(now: now) {
                    let flow = waiting[next.tenant]?.first { $0.value.first == next.slot }
                    #expect(flow != nil, "\(place): not the first of a flow")
                    if let flow { waiting[next.tenant]?[flow.key]?.removeFirst() }
                } else {
                    for other in 0..<numbers where isWaiting(other) {
                        #expect(capped[other] == true, "\(place): \(other) could send")
                    }
                    let next = queues.nextEligible
                    #expect((next == nil) == (queues.count == 0), "\(place)")
                    #expect(next ?? .max > now, "\(place)")
                    if let next { now = next }
                }
            case 90..<93: now += UInt64.random(in: 0...1_000_000, using: &random)
            case 93..<95:
                if let dropped = queues.dropFromLongest() {
                    let flow = waiting[dropped.tenant]?.first { $0.value.first == dropped.slot }
                    #expect(flow != nil, "\(place): not the first of a flow")
                    if let flow { waiting[dropped.tenant]?[flow.key]?.removeFirst() }
                }
            case 95..<97:
                let limits = limits()
                queues.setLimits(limits, of: tenant)
                if capped[tenant] != nil { capped[tenant] = TenantMeters(limits).isCapped }
            case 97..<99:
                let limits = limits()
                queues.add(tenant: tenant, limits: limits)
                capped[tenant] = TenantMeters(limits).isCapped
            default:
                var released: [Int32] = []
                queues.remove(tenant: tenant) { released.append($0) }
                let expected = waiting.removeValue(forKey: tenant)?.values.flatMap(\.self) ?? []
                #expect(released.sorted() == expected.sorted(), "\(place)")
                capped[tenant] = nil
            }
            let total = waiting.values.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.count } }
            let counts = [queues.count, (0..<numbers).reduce(0) { $0 + queues.count(of: $1) }]
            #expect(counts == [total, total], "\(place)")
        }
        // All of it leaves in the end.
        var rounds = 0
        while queues.count > 0 && rounds < 100_000 {
            rounds += 1
            if queues.dequeue(now: now) == nil { now = max(now + 1, queues.nextEligible ?? 0) }
        }
        let rest = [queues.count, queues.byteCount]
        #expect(rest == [0, 0], "seed \(seed)")
    }
}
