import CAllocationCounter
import PacketFormats
import TestSupport
import Testing

@testable import EgressScheduling

/// Frames of a flow keep their order whatever they are said to be, and none is lost.
@Suite struct ClassOrderTests {
    private static let now: UInt64 = 1_000_000_000

    private func makeQueues(quantumBytes: Int = 1_514) -> TenantQueues {
        var queues = TenantQueues(frameCapacity: 500, quantumBytes: quantumBytes)
        queues.add(tenant: 0, limits: TenantLimits())
        return queues
    }

    private func drain(_ queues: inout TenantQueues) -> [Departure] {
        var departures: [Departure] = []
        while let next = queues.dequeue(now: Self.now) { departures.append(next) }
        return departures
    }

    @Test func betterClassesGoFirst() {
        var queues = makeQueues()
        for (slot, trafficClass) in TrafficClass.allCases.reversed().enumerated() {
            let isAdded = queues.enqueue(
                frame(Int32(slot), trafficClass, flow: UInt32(slot), 100), now: Self.now)
            #expect(isAdded)
        }
        let departures = drain(&queues)
        // `background` is owed its 2 % as soon as anything has left before it.
        #expect(
            departures.map(\.trafficClass)
                == [.control, .background, .token, .activation, .prompt, .bulk])
        let first = departures.filter { $0.trafficClass <= .activation }
        #expect(first.map(\.isSparse) == [true, true, true])
    }

    @Test func aWorseClassTakesTheQueueAlong() {
        var queues = makeQueues()
        for slot in 0..<3 as Range<Int32> {
            _ = queues.enqueue(frame(slot, .token, flow: 1, 100), now: Self.now)
        }
        _ = queues.enqueue(frame(10, .prompt, flow: 2, 100), now: Self.now)
        _ = queues.enqueue(frame(3, .bulk, flow: 1, 100), now: Self.now)
        let token = queues.occupancy(of: 0, .token), bulk = queues.occupancy(of: 0, .bulk)
        #expect(token == Occupancy() && bulk == Occupancy(packets: 4, bytes: 400))
        // A better one does not take it back, nor pass it.
        _ = queues.enqueue(frame(4, .token, flow: 1, 100), now: Self.now)
        let departures = drain(&queues)
        #expect(departures.map(\.slot).filter { $0 < 10 } == [0, 1, 2, 3, 4])
        let classes = departures.filter { $0.slot < 10 }.map(\.trafficClass)
        #expect(classes == .init(repeating: .bulk, count: 5))
        // The empty queue has no class.
        _ = queues.enqueue(frame(5, .token, flow: 1, 100), now: Self.now)
        #expect(drain(&queues).map(\.trafficClass) == [.token])
    }

    @Test func activationGoesByAge() {
        var queues = makeQueues()
        for slot in 0..<30 as Range<Int32> {
            _ = queues.enqueue(
                frame(slot, .activation, flow: UInt32(slot % 4), 1_400),
                now: Self.now + UInt64(slot))
        }
        var slots: [Int32] = []
        for _ in 0..<10 { if let next = queues.dequeue(now: Self.now) { slots.append(next.slot) } }
        // One flow is moved away from among the others.
        _ = queues.enqueue(frame(30, .bulk, flow: 1, 1_400), now: Self.now)
        slots += drain(&queues).map(\.slot)
        let rest = (10..<30).filter { $0 % 4 != 1 }
        let moved = (10..<30).filter { $0 % 4 == 1 } + [30]
        #expect(slots == (Array(0..<10) + rest + moved).map { Int32($0) })
    }

    @Test func theWorstClassGivesWay() {
        var queues = makeQueues()
        let frames: [(Int32, TrafficClass, Int)] = [
            (1, .token, 4_000), (2, .prompt, 4_000), (3, .bulk, 4_000), (4, .background, 500),
        ]
        for (slot, trafficClass, size) in frames {
            _ = queues.enqueue(frame(slot, trafficClass, flow: UInt32(slot), size), now: 0)
        }
        var dropped: [Int32] = []
        while let next = queues.dropFromLongest() { dropped.append(next.slot) }
        // What little there is of `background` did not fill the queue.
        #expect(dropped == [3, 2, 1, 4])
    }

    @Test func whatIsGivenBackCanBeSent() {
        var queues = makeQueues()
        queues.setLink(LinkShape(bitsPerSecond: 8_000_000), now: Self.now)
        for slot in 0..<20 as Range<Int32> {
            _ = queues.enqueue(frame(slot, .bulk, flow: 1, 1_000), now: Self.now)
        }
        var sent = 0
        while let next = queues.dequeue(now: Self.now) {
            sent += 1
            if sent % 2 == 0 { queues.giveBack(next) }
        }
        let bytes = queues.wireBytesSent
        // A pause is worth two frames; the second of three was given back.
        #expect(sent == 3 && bytes == 2_000)
        let eligible = queues.nextEligible ?? 0
        #expect(eligible > Self.now && eligible <= Self.now + 1_000_000)
    }

    /// Classes, paths, limits and shapes change at random while frames come and go.
    @Test(arguments: 0..<40)
    func nothingIsLostNorReordered(seed: UInt64) {
        print("class order seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var queues = TenantQueues(
            frameCapacity: 150, quantumBytes: [1_514, 65_535].randomElement(using: &random) ?? 1)
        struct Key: Hashable {
            var tenant: Int
            var flow: UInt32
        }
        var waiting: [Key: [Int32]] = [:]
        var owners: [Int32: Key] = [:]
        var now = Self.now
        var slot: Int32 = 0

        func leave(_ slot: Int32, _ place: String) {
            guard let key = owners.removeValue(forKey: slot) else {
                Issue.record("\(place): \(slot) is not there")
                return
            }
            #expect(waiting[key]?.first == slot, "\(place): reordered")
            waiting[key]?.removeAll { $0 == slot }
        }
        func shape() -> LinkShape? {
            let rate = Int64(1) << Int64.random(in: 0...43, using: &random)
            return random.chance(percent: 30) ? nil : LinkShape(bitsPerSecond: rate)
        }
        for tenant in 0..<3 { queues.add(tenant: tenant, limits: TenantLimits()) }
        for step in 0..<5_000 {
            let place = "seed \(seed), step \(step)"
            let tenant = Int.random(in: 0..<3, using: &random)
            let path = Int32.random(in: -1...3, using: &random)
            switch Int.random(in: 0..<1_000, using: &random) {
            case 0..<450:
                slot += 1
                let key = Key(tenant: tenant, flow: UInt32.random(in: 0..<9, using: &random))
                let trafficClass = TrafficClass.allCases.randomElement(using: &random) ?? .token
                let isAdded = queues.enqueue(
                    frame(
                        slot, trafficClass, of: tenant, path: path, flow: key.flow,
                        Int.random(in: 0...3_000, using: &random)), now: now)
                guard isAdded else { continue }
                waiting[key, default: []].append(slot)
                owners[slot] = key
            case 450..<860:
                if let next = queues.dequeue(now: now) {
                    leave(next.slot, place)
                    if random.chance(percent: 5) { queues.giveBack(next) }
                } else if let next = queues.nextEligible {
                    now = max(now, min(next, now + 50_000_000))
                }
            case 860..<900: now += UInt64.random(in: 0...3_000_000, using: &random)
            case 900..<930:
                if let dropped = queues.dropFromLongest(of: tenant) { leave(dropped.slot, place) }
            case 930..<960:
                if let dropped = queues.dropExcess(of: tenant, path: path) {
                    leave(dropped.slot, place)
                }
            case 960..<975: queues.setPath(path, of: tenant, shape: shape(), now: now)
            case 975..<980: queues.setLink(shape(), now: now)
            case 980..<990:
                let percent = Int.random(in: -5...120, using: &random)
                queues.setClasses(ClassPolicy(priorityPercent: percent), of: tenant)
            case 990..<996:
                let maximum = random.chance(percent: 50) ? nil : Int64(50_000_000)
                queues.setLimits(
                    TenantLimits(minimumRate: 1_000_000, maximumRate: maximum), of: tenant)
            default:
                var released: [Int32] = []
                queues.remove(tenant: tenant) { released.append($0) }
                let expected = waiting.filter { $0.key.tenant == tenant }.flatMap(\.value)
                #expect(released.sorted() == expected.sorted(), "\(place)")
                for slot in released { owners[slot] = nil }
                waiting = waiting.filter { $0.key.tenant != tenant }
                queues.add(tenant: tenant, limits: TenantLimits())
            }
            var packets = 0
            for tenant in 0..<3 {
                for trafficClass in TrafficClass.allCases {
                    packets += queues.occupancy(of: tenant, trafficClass).packets
                }
            }
            let counts = [queues.count, packets]
            #expect(counts == [owners.count, owners.count], "\(place)")
        }
        // All of it leaves in the end, in order.
        queues.setLink(nil, now: now)
        for tenant in 0..<3 {
            queues.setLimits(TenantLimits(), of: tenant)
            for path in 0...3 as ClosedRange<Int32> {
                queues.setPath(path, of: tenant, shape: nil, now: now)
            }
        }
        while let next = queues.dequeue(now: now) { leave(next.slot, "seed \(seed), the end") }
        #expect(owners.isEmpty, "seed \(seed)")
        let rest = [queues.count, queues.byteCount]
        #expect(rest == [0, 0])
    }

    @Test func manyMoreFlowsThanQueuesPass() {
        var queues = makeQueues()
        for round in 0..<20 {
            for slot in 0..<500 as Range<Int32> {
                let flow = UInt32(round * 500) + UInt32(slot)
                let isAdded = queues.enqueue(frame(slot, .prompt, flow: flow, 1_500), now: 0)
                #expect(isAdded)
            }
            // One bulk flow keeps the empty ones listed.
            #expect(drain(&queues).count == 500)
        }
    }

    @Test(arguments: [1, 8_000, 20_000_000, 10_000_000_000_000] as [Int64])
    func anyRateIsServed(rate: Int64) {
        var queues = makeQueues()
        queues.setLink(LinkShape(bitsPerSecond: rate), now: Self.now)
        queues.setPath(1, of: 0, shape: LinkShape(bitsPerSecond: rate), now: Self.now)
        var now = Self.now
        var left = 0
        for step in 0..<300 {
            let size = [0, 1, 1_500, 65_535, .max, .min][step % 6]
            let isAdded = queues.enqueue(
                frame(1, .token, path: Int32(step & 1), flow: UInt32(step % 5), size), now: now)
            #expect(isAdded)
            if queues.dequeue(now: now) != nil { left += 1 }
            if let next = queues.nextEligible, next < 1 << 62 { now = max(now, next) }
        }
        #expect(left > 0)
        queues.setLink(LinkShape(bitsPerSecond: 1_000_000_000), now: now)
        queues.setPath(1, of: 0, shape: nil, now: now)
        queues.setLink(nil, now: now)
        #expect(drain(&queues).count == 300 - left)
    }

    @Test func nothingAllocatesOnceAllIsSetUp() {
        var queues = TenantQueues(frameCapacity: 300, quantumBytes: 65_535)
        for tenant in 0..<2 { queues.add(tenant: tenant, limits: TenantLimits()) }
        for path in 0..<4 as Range<Int32> {
            queues.setPath(path, of: 1, shape: LinkShape(bitsPerSecond: 30_000_000), now: 0)
        }
        queues.setLink(LinkShape(bitsPerSecond: 50_000_000), now: 0)
        var now = Self.now
        var random = SeededGenerator(seed: 1)
        var left = 0, dropped = 0
        func pass() {
            for _ in 0..<2_000 {
                let bits = random.next()
                let trafficClass = TrafficClass(rawValue: UInt8(bits >> 8 & 7)) ?? .token
                let isAdded = queues.enqueue(
                    EgressFrame(
                        slot: 1, tenant: Int(bits >> 3 & 1), path: Int32(bits >> 16 & 7),
                        trafficClass: trafficClass, flow: UInt32(bits >> 24 & 2_047),
                        byteCount: 1_400, wireByteCount: 1_498), now: now)
                if !isAdded, queues.dropFromLongest() != nil { dropped += 1 }
                now += 150_000
                if let next = queues.dequeue(now: now) {
                    left += 1
                    if next.isSignalled { queues.giveBack(next) }
                }
                _ = queues.dropExcess(of: 1, path: 2)
                _ = queues.nextEligible
            }
        }
        for _ in 0..<3 { pass() }
        let before = allocations_of_this_thread()
        pass()
        let count = allocations_of_this_thread() - before
        #expect(left > 0 && dropped > 0)
        #if DEBUG
        print("skipped: allocations of table accesses are counted in release builds")
        #else
        #expect(count == 0)
        #endif
        print("allocations in 2,000 rounds: \(count)")
    }
}
