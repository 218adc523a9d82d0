import CAllocationCounter
import TestSupport
import Testing

@testable import EgressScheduling

@Suite struct TenantQueuesTests {
    private func fill(
        _ queues: inout TenantQueues,
        _ frames: [(slot: Int32, tenant: Int, flow: UInt32, size: Int)]
    ) {
        for frame in frames {
            let isAdded = queues.enqueue(
                bulk(frame.slot, of: frame.tenant, flow: frame.flow, frame.size), now: Self.now)
            #expect(isAdded)
        }
    }

    private func drain(_ queues: inout TenantQueues, now: UInt64 = now) -> [Int32] {
        var slots: [Int32] = []
        while let next = queues.dequeue(now: now) { slots.append(next.slot) }
        return slots
    }

    private static let now: UInt64 = 1_000_000_000

    @Test func twoTenantsAlternate() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        for tenant in [3, 7] { queues.add(tenant: tenant, limits: TenantLimits()) }
        fill(&queues, (0..<20).map { ($0, $0 < 10 ? 3 : 7, 0, 1_500) })
        var order: [Int] = []
        while let next = queues.dequeue(now: 0) { order.append(next.tenant) }
        #expect(order.count == 20)
        for index in stride(from: 0, to: 18, by: 2) { #expect(order[index] != order[index + 1]) }
    }

    @Test func unknownTenantsAreRefused() {
        var queues = TenantQueues(frameCapacity: 10, quantumBytes: 1_500)
        queues.add(tenant: 2, limits: TenantLimits())
        for tenant in [-1, 0, 1, 3, 1_000_000] {
            let isAdded = queues.enqueue(bulk(1, of: tenant, flow: 0, 1), now: 0)
            #expect(!isAdded)
            queues.setLimits(TenantLimits(), of: tenant)
            queues.remove(tenant: tenant) { _ in Issue.record("there was nothing") }
            let answers = [queues.count(of: tenant), queues.byteCount(of: tenant)]
            #expect(answers == [0, 0])
            let isPresent = queues.isPresent(tenant), dropped = queues.dropFromLongest(of: tenant)
            #expect(!isPresent && dropped == nil)
        }
    }

    @Test func exactlyTheCapacityFitsAllTenantsTogether() {
        var queues = TenantQueues(frameCapacity: 3, quantumBytes: 1_500)
        for tenant in 0..<2 { queues.add(tenant: tenant, limits: TenantLimits()) }
        fill(&queues, [(1, 0, 0, 10), (2, 0, 1, 10), (3, 1, 0, 10)])
        let refused = queues.enqueue(bulk(4, of: 1, flow: 0, 1), now: 0)
        #expect(!refused)
        let dropped = queues.dropFromLongest()
        #expect(dropped?.tenant == 0)
        fill(&queues, [(4, 1, 0, 1)])
    }

    @Test func theValveTakesFromWhoHoldsMostForItsWeight() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        for (tenant, weight) in [(0, 1), (1, 10), (2, 1)] {
            queues.add(tenant: tenant, limits: TenantLimits(weight: weight))
        }
        fill(&queues, [(1, 0, 0, 600), (2, 0, 0, 500), (3, 1, 0, 9_000), (4, 2, 0, 1_050)])
        var dropped: [Int32] = []
        while let next = queues.dropFromLongest() { dropped.append(next.slot) }
        #expect(dropped == [1, 4, 3, 2])
        #expect(queues.byteCount == 0)
    }

    @Test func whatWaitsBehindAMaximumIsCut() {
        var queues = TenantQueues(frameCapacity: 4_000, quantumBytes: 65_535)
        queues.add(tenant: 0, limits: TenantLimits(maximumRate: 1_000_000))
        queues.add(tenant: 1, limits: TenantLimits(maximumRate: 100_000_000))
        queues.add(tenant: 2, limits: TenantLimits(maximumPacketsPerSecond: 5_000))
        for (tenant, most) in [(0, 262_144), (1, 1_250_000), (2, 750_000)] {
            fill(&queues, (0..<1_000).map { ($0, tenant, 0, 1_500) })
            var dropped: [Int32] = []
            while let next = queues.dropExcess(of: tenant) { dropped.append(next.slot) }
            #expect(dropped == Array(0..<Int32(dropped.count)))
            let rest = queues.byteCount(of: tenant)
            #expect(rest <= most && rest > most - 1_500)
            queues.remove(tenant: tenant) { _ in }
        }
        queues.add(tenant: 3, limits: TenantLimits(minimumRate: 1_000))
        fill(&queues, (0..<3_000).map { ($0, 3, 0, 1_500) })
        let excess = queues.dropExcess(of: 3)
        #expect(excess == nil)
    }

    @Test func removingGivesBackExactlyTheTenantsFrames() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        for tenant in 0..<3 { queues.add(tenant: tenant, limits: TenantLimits()) }
        fill(&queues, (0..<30).map { ($0, Int($0) % 3, UInt32($0), 700) })
        // In the middle of a turn of each.
        for _ in 0..<4 { _ = queues.dequeue(now: 0) }
        let held = queues.count(of: 1)
        var released: [Int32] = []
        queues.remove(tenant: 1) { released.append($0) }
        #expect(released.count == held && released.allSatisfy { $0 % 3 == 1 })
        let rest = drain(&queues)
        #expect(rest.allSatisfy { $0 % 3 != 1 })
        #expect(rest.count + released.count == 26)
        fill(&queues, (0..<100).map { ($0, 0, 0, 1) })
    }

    @Test func aNumberThatIsGivenAgainOwesNothing() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        let capped = TenantLimits(maximumRate: 1_000)
        queues.add(tenant: 0, limits: TenantLimits())
        queues.add(tenant: 1, limits: capped)
        fill(&queues, (0..<50).map { ($0, 1, UInt32($0), 60_000) })
        _ = drain(&queues)
        let next = queues.nextEligible
        #expect(next != nil)
        var released = 0
        queues.remove(tenant: 1) { _ in released += 1 }
        #expect(released > 40)
        let after = queues.nextEligible
        #expect(after == nil)
        queues.add(tenant: 1, limits: TenantLimits())
        fill(&queues, (0..<20).map { ($0, Int($0) % 2, 0, 1_500) })
        var sent = [0, 0]
        for _ in 0..<10 {
            if let next = queues.dequeue(now: Self.now) { sent[next.tenant] += 1 }
        }
        #expect(sent == [5, 5])
    }

    @Test func changedLimitsCountAtOnce() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        queues.add(tenant: 0, limits: TenantLimits(maximumRate: 1_000_000))
        fill(&queues, (0..<60).map { ($0, 0, 0, 1_500) })
        let before = drain(&queues).count
        // 65,536 bytes, and no more.
        #expect(before == 43)
        let eligible = queues.nextEligible
        #expect(eligible != nil)
        queues.setLimits(TenantLimits(), of: 0)
        let lifted = queues.nextEligible
        #expect(lifted == nil)
        #expect(drain(&queues) == Array(43..<60))
        queues.setLimits(TenantLimits(maximumRate: 1_000_000), of: 0)
        fill(&queues, (0..<60).map { ($0, 0, 0, 1_500) })
        #expect(drain(&queues).count == 43)
    }

    @Test func cappedFramesLeaveExactlyAtTheTimeThatWasTold() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        queues.add(tenant: 0, limits: TenantLimits(maximumRate: 1_000_000))
        fill(&queues, (0..<60).map { ($0, 0, 0, 1_500) })
        _ = drain(&queues)
        for _ in 0..<17 {
            let time = queues.nextEligible ?? 0
            #expect(time > Self.now)
            let early = queues.dequeue(now: time - 1) == nil
            #expect(early)
            let isThere = queues.dequeue(now: time) != nil
            #expect(isThere)
            _ = queues.dequeue(now: time)
        }
        let over = queues.nextEligible
        #expect(over == nil && queues.count == 0)
    }

    /// What a maximum held back was not served, and does not count towards the promise.
    @Test func waitingForAMaximumUsesUpNoPromise() {
        let limits = TenantLimits(minimumRate: 1_000_000, maximumRate: 1_000_000)
        let meters = TenantMeters(limits)
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
        queues.add(tenant: 0, limits: limits, meters: meters)
        #expect(meters.take(byteCount: 65_536, now: Self.now))
        fill(&queues, [(1, 0, 0, 1_500)])
        let isHeld = queues.dequeue(now: Self.now) == nil
        #expect(isHeld)
        #expect(meters.minimum?.take(byteCount: 65_536, now: Self.now) == true)
    }

    @Test func growthKeepsWhatWaits() {
        var queues = TenantQueues(frameCapacity: 1_000, quantumBytes: 1_500)
        for tenant in 0..<100 {
            queues.add(tenant: tenant * 7, limits: TenantLimits())
            fill(&queues, (0..<5).map { (Int32(tenant), tenant * 7, $0, 100) })
        }
        for tenant in 0..<100 {
            let count = queues.count(of: tenant * 7)
            #expect(count == 5)
        }
        while let next = queues.dequeue(now: 0) { #expect(Int(next.slot) * 7 == next.tenant) }
        let rest = [queues.count, queues.byteCount]
        #expect(rest == [0, 0])
    }

    @Test func shareStaysFairWhenTheClockIsLowered() {
        for start in [UInt64(1) << 62 - 5_000_000, 1 << 62] {
            var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_500)
            for tenant in 0..<3 {
                queues.add(
                    tenant: tenant, limits: TenantLimits(weight: tenant + 1))
            }
            queues.readyClock = start
            var sent = [0, 0, 0]
            for _ in 0..<6_000 {
                for tenant in 0..<3 where queues.count(of: tenant) < 10 {
                    fill(&queues, [(0, tenant, 0, 1_500)])
                }
                if let next = queues.dequeue(now: 0) { sent[next.tenant] += 1 }
            }
            #expect(abs(sent[0] - 1_000) <= 3 && abs(sent[1] - 2_000) <= 3, "\(sent)")
            let clock = queues.readyClock
            #expect(clock < 1 << 62)
        }
    }

    @Test func sizesOutOfRangeAreClamped() {
        var queues = TenantQueues(frameCapacity: 4, quantumBytes: 1_500)
        queues.add(tenant: 0, limits: TenantLimits())
        fill(&queues, [(1, 0, 1, -5), (2, 0, 1, .max), (3, 0, 1, 0)])
        #expect(queues.byteCount == Int(Int32.max))
        #expect(drain(&queues) == [1, 2, 3])
        #expect(queues.byteCount == 0)
    }

    @Test func nothingAllocatesOnceTenantsAreThere() {
        var queues = TenantQueues(frameCapacity: 300, quantumBytes: 65_535)
        let limits = [
            TenantLimits(), TenantLimits(maximumRate: 50_000_000),
            TenantLimits(weight: 5, minimumRate: 40_000_000),
            TenantLimits(
                minimumRate: 10_000_000, maximumRate: 90_000_000, maximumPacketsPerSecond: 900),
        ]
        for (tenant, limits) in limits.enumerated() {
            queues.add(tenant: tenant, limits: limits)
        }
        var now = Self.now
        var random = SeededGenerator(seed: 1)
        var left = 0, dropped = 0
        func pass() {
            for _ in 0..<2_000 {
                let size = Int(random.next() & 16_383)
                let hash = UInt32(truncatingIfNeeded: random.next())
                let isAdded = queues.enqueue(
                    bulk(1, of: Int(hash >> 30), flow: hash, size), now: now)
                if !isAdded, queues.dropFromLongest() != nil { dropped += 1 }
                now += 200_000
                if queues.dequeue(now: now) != nil { left += 1 }
                _ = queues.dropExcess(of: 1)
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
