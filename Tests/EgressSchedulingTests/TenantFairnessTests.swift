import EgressScheduling
import TestSupport
import Testing

/// What tenants get of a link that is too small for all of them.
@Suite struct TenantFairnessTests {
    private typealias Sender = LinkSimulation.Sender
    private static let gigabit = 1_000_000_000

    @Test(arguments: [1_500, 65_535])
    func oneFlowGetsAsMuchAsThirtyTwo(frameBytes: Int) {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for tenant in 0..<2 {
            link.queues.add(tenant: tenant, limits: TenantLimits())
        }
        link.run(
            [
                Sender(tenant: 0, flows: 1, frameBytes: frameBytes),
                Sender(tenant: 1, flows: 32, frameBytes: frameBytes),
            ], milliseconds: 1_000)
        let rates = (0..<2).map { link.rate(of: $0, milliseconds: 1_000) }
        print("1 flow against 32: \(rates), Jain \(jainIndex(rates))")
        #expect(jainIndex(rates) >= 0.999)
        #expect(rates.reduce(0, +) > 0.999 * Double(Self.gigabit))
    }

    @Test func smallFramesGetAsManyBytesAsLargeOnes() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        let sizes = [64, 200, 1_500, 9_000, 65_535]
        for tenant in sizes.indices {
            link.queues.add(tenant: tenant, limits: TenantLimits())
        }
        link.run(
            sizes.enumerated().map {
                Sender(tenant: $0, flows: 4, frameBytes: $1, window: 100)
            }, milliseconds: 1_000)
        let rates = sizes.indices.map { link.rate(of: $0, milliseconds: 1_000) }
        #expect(jainIndex(rates) >= 0.999, "\(rates)")
    }

    /// Frames cost work each: with their overhead counted, who sends small ones gets fewer bytes.
    @Test func theWorkOfFramesCountsWhereItIsAskedFor() {
        var queues = TenantQueues(
            frameCapacity: 4_000, quantumBytes: 65_535, frameOverheadBytes: 600)
        for tenant in 0..<2 { queues.add(tenant: tenant, limits: TenantLimits()) }
        var sent = [0, 0]
        for slot in 0..<3_000 as Range<Int32> {
            _ = queues.enqueue(bulk(slot, of: 0, flow: 0, 100), now: 0)
        }
        for slot in 0..<40 as Range<Int32> {
            _ = queues.enqueue(bulk(slot, of: 1, flow: 0, 65_000), now: 0)
        }
        while queues.count(of: 0) > 0, queues.count(of: 1) > 0, let next = queues.dequeue(now: 0) {
            sent[next.tenant] += 1
        }
        let ratio = Double(sent[0] * 700) / Double(sent[1] * 65_600)
        #expect(abs(ratio - 1) < 0.1, "\(sent)")
    }

    @Test(arguments: [[1, 1], [1, 3], [1, 2, 4, 8], [1, 10, 100], [7, 1_000]])
    func sharesFollowWeights(weights: [Int]) {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for (tenant, weight) in weights.enumerated() {
            link.queues.add(
                tenant: tenant, limits: TenantLimits(weight: weight))
        }
        link.run(
            weights.indices.map { Sender(tenant: $0, flows: 1 + $0 % 3, window: 50) },
            milliseconds: 2_000)
        let shares = weights.indices.map {
            link.rate(of: $0, milliseconds: 2_000) / Double(weights[$0])
        }
        #expect(jainIndex(shares) >= 0.999, "\(shares)")
    }

    @Test func largeWeightsDoNotComeInLongBursts() {
        var queues = TenantQueues(frameCapacity: 4_000, quantumBytes: 1_500)
        for tenant in 0..<2 {
            queues.add(tenant: tenant, limits: TenantLimits(weight: 1_000))
            for slot in 0..<1_000 as Range<Int32> {
                _ = queues.enqueue(bulk(slot, of: tenant, flow: 0, 1_500), now: 0)
            }
        }
        var run = 0, longest = 0, last = -1
        while let next = queues.dequeue(now: 0) {
            run = next.tenant == last ? run + 1 : 1
            last = next.tenant
            longest = max(longest, run)
        }
        #expect(longest <= 2)
    }

    @Test func unusedSharesAreLent() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for tenant in 0..<10 {
            link.queues.add(tenant: tenant, limits: TenantLimits())
        }
        link.run([Sender(tenant: 4)], milliseconds: 100)
        #expect(link.rate(of: 4, milliseconds: 100) > 0.99 * Double(Self.gigabit))
        #expect(link.idleNanoseconds == 0)
        // Having had it does not count against it when another comes.
        link.clear()
        link.run([Sender(tenant: 4), Sender(tenant: 5)], milliseconds: 100)
        let rates = [4, 5].map { link.rate(of: $0, milliseconds: 100) }
        #expect(jainIndex(rates) >= 0.999, "\(rates)")
    }

    /// Neither does having been silent entitle to more than a moment's lead.
    @Test func silenceIsNotSavedUp() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for tenant in 0..<2 {
            link.queues.add(tenant: tenant, limits: TenantLimits())
        }
        link.run([Sender(tenant: 0)], milliseconds: 2_000)
        link.clear()
        link.run([Sender(tenant: 0), Sender(tenant: 1)], milliseconds: 20)
        let ahead = (link.sent[1] ?? 0) - (link.sent[0] ?? 0)
        #expect(ahead <= 3 * 65_535, "\(link.sent)")
    }

    @Test func whoUsesLessThanItsShareIsServedAtOnce() {
        var queues = TenantQueues(frameCapacity: 4_000, quantumBytes: 65_535)
        let busy = 50
        for tenant in 0...busy {
            queues.add(tenant: tenant, limits: TenantLimits())
        }
        func fill(_ queues: inout TenantQueues) {
            for tenant in 0..<busy where queues.count(of: tenant) < 8 {
                _ = queues.enqueue(bulk(1, of: tenant, flow: 1, 65_000), now: 0)
                _ = queues.enqueue(bulk(1, of: tenant, flow: 2, 1_400), now: 0)
            }
        }
        for _ in 0..<1_000 {
            fill(&queues)
            _ = queues.dequeue(now: 0)
        }
        for _ in 0..<200 {
            // Three packets in the time of a hundred large frames.
            for _ in 0..<3 {
                _ = queues.enqueue(bulk(9, of: busy, flow: 3, 300), now: 0)
            }
            for _ in 0..<3 {
                let next = queues.dequeue(now: 0)
                #expect(next?.tenant == busy)
            }
            for _ in 0..<100 {
                fill(&queues)
                _ = queues.dequeue(now: 0)
            }
        }
    }

    @Test func comingAndGoingGainsNothing() {
        // A tenant that lets its queue run empty after every frame against one that never does.
        var queues = TenantQueues(frameCapacity: 4_000, quantumBytes: 1_500)
        for tenant in 0..<2 { queues.add(tenant: tenant, limits: TenantLimits()) }
        var sent = [0, 0]
        for step in 0..<10_000 as Range<UInt32> {
            while queues.count(of: 0) < 10 {
                _ = queues.enqueue(bulk(0, of: 0, flow: 0, 1_500), now: 0)
            }
            if queues.count(of: 1) == 0 {
                _ = queues.enqueue(bulk(1, of: 1, flow: step, 1_500), now: 0)
            }
            if let next = queues.dequeue(now: 0) { sent[next.tenant] += 1 }
        }
        #expect(abs(sent[0] - sent[1]) <= 4, "\(sent)")
    }

    @Test func maximaHoldAndTheRestIsLent() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        let limits = [
            TenantLimits(maximumRate: 50_000_000), TenantLimits(maximumRate: 200_000_000),
            TenantLimits(), TenantLimits(maximumPacketsPerSecond: 5_000),
        ]
        for (tenant, limits) in limits.enumerated() {
            link.queues.add(tenant: tenant, limits: limits)
        }
        link.run(
            limits.indices.map { Sender(tenant: $0, flows: 3, window: 20) }, milliseconds: 5_000)
        let rates = limits.indices.map { link.rate(of: $0, milliseconds: 5_000) / 1e6 }
        // The burst at the start is 0.4 % of five seconds.
        let expected = [50, 200, 690, 60].map(Double.init)
        for (rate, expected) in zip(rates, expected) {
            #expect(abs(rate / expected - 1) < 0.015, "\(rates)")
        }
        #expect(link.idleNanoseconds == 0)
    }

    @Test func aMaximumHoldsThoughNobodyElseSends() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        link.queues.add(
            tenant: 0, limits: TenantLimits(maximumRate: 30_000_000))
        link.run([Sender(tenant: 0, flows: 2, frameBytes: 65_535)], milliseconds: 10_000)
        let rate = link.rate(of: 0, milliseconds: 10_000) / 1e6
        #expect(abs(rate / 30 - 1) < 0.01, "\(rate)")
        #expect(link.idleNanoseconds > 9_000_000_000)
    }

    @Test func workersShareOneMaximum() {
        let limits = TenantLimits(maximumRate: 100_000_000)
        let meters = TenantMeters(limits)
        var first = TenantQueues(frameCapacity: 100, quantumBytes: 65_535)
        var second = TenantQueues(frameCapacity: 100, quantumBytes: 65_535)
        first.add(tenant: 0, limits: limits, meters: meters)
        second.add(tenant: 0, limits: limits, meters: meters)
        var sent = [0, 0]
        for now in stride(from: 1_000_000_000 as UInt64, to: 3_000_000_000, by: 10_000) {
            for _ in 0..<2 {
                _ = first.enqueue(bulk(1, of: 0, flow: 1, 1_500), now: now)
                _ = second.enqueue(bulk(1, of: 0, flow: 1, 1_500), now: now)
            }
            while first.dequeue(now: now) != nil { sent[0] += 1_500 }
            while second.dequeue(now: now) != nil { sent[1] += 1_500 }
        }
        let rate = Double(sent[0] + sent[1]) * 8 / 2
        #expect(abs(rate / 100e6 - 1) < 0.02, "\(sent)")
    }

    @Test func promisesAreKeptAgainstMoreWeight() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        let limits = [
            TenantLimits(weight: 1, minimumRate: 600_000_000),
            TenantLimits(weight: 10), TenantLimits(weight: 10),
        ]
        for (tenant, limits) in limits.enumerated() {
            link.queues.add(tenant: tenant, limits: limits)
        }
        link.run(limits.indices.map { Sender(tenant: $0, flows: 5) }, milliseconds: 2_000)
        let rates = limits.indices.map { link.rate(of: $0, milliseconds: 2_000) / 1e6 }
        for (rate, expected) in zip(rates, [600.0, 200, 200]) {
            #expect(abs(rate / expected - 1) < 0.02, "\(rates)")
        }
    }

    @Test func aPromiseBelowTheShareChangesNothing() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for (tenant, limits) in [
            TenantLimits(minimumRate: 300_000_000), TenantLimits(),
        ].enumerated() {
            link.queues.add(tenant: tenant, limits: limits)
        }
        link.run([Sender(tenant: 0), Sender(tenant: 1)], milliseconds: 2_000)
        let rates = (0..<2).map { link.rate(of: $0, milliseconds: 2_000) }
        #expect(jainIndex(rates) >= 0.999, "\(rates)")
    }

    @Test func promisesThatDoNotFitAreCutInProportion() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        for (tenant, limits) in [
            TenantLimits(minimumRate: 1_500_000_000), TenantLimits(minimumRate: 500_000_000),
        ].enumerated() {
            link.queues.add(tenant: tenant, limits: limits)
        }
        link.run([Sender(tenant: 0), Sender(tenant: 1)], milliseconds: 2_000)
        let rates = (0..<2).map { link.rate(of: $0, milliseconds: 2_000) / 1e6 }
        #expect(abs(rates[0] / 750 - 1) < 0.03, "\(rates)")
        #expect(abs(rates[1] / 250 - 1) < 0.06, "\(rates)")
    }

    @Test func aPromiseThatIsNotUsedIsLent() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        link.queues.add(
            tenant: 0, limits: TenantLimits(minimumRate: 900_000_000))
        link.queues.add(tenant: 1, limits: TenantLimits())
        link.run([Sender(tenant: 1)], milliseconds: 500)
        #expect(link.rate(of: 1, milliseconds: 500) > 0.99e9)
        #expect(link.idleNanoseconds == 0)
    }

    @Test func minimumAndMaximumHoldTogether() {
        var link = LinkSimulation(bitsPerSecond: Self.gigabit)
        link.queues.add(
            tenant: 0,
            limits: TenantLimits(minimumRate: 700_000_000, maximumRate: 800_000_000))
        link.queues.add(tenant: 1, limits: TenantLimits(weight: 50))
        link.run([Sender(tenant: 0), Sender(tenant: 1)], milliseconds: 1_500)
        let against = link.rate(of: 0, milliseconds: 1_500) / 1e6
        #expect(abs(against / 700 - 1) < 0.03, "\(against)")
        link.clear()
        link.run([Sender(tenant: 0)], milliseconds: 1_500)
        let alone = link.rate(of: 0, milliseconds: 1_500) / 1e6
        #expect(abs(alone / 800 - 1) < 0.02, "\(alone)")
    }

    /// A token packet does not wait until the limit has room for the upload's large frame.
    @Test func aSparseFlowOfACappedTenantPassesItsOwnBulk() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 65_535)
        queues.add(tenant: 0, limits: TenantLimits(maximumRate: 20_000_000))
        var now: UInt64 = 1_000_000_000
        for slot in 0..<20 as Range<Int32> {
            _ = queues.enqueue(bulk(slot, of: 0, flow: 0, 65_535), now: now)
        }
        while queues.dequeue(now: now) != nil {}
        let bulkTime = queues.nextEligible ?? 0
        #expect(bulkTime > now + 20_000_000)
        now += 1_000_000
        _ = queues.enqueue(bulk(99, of: 0, flow: 1, 300), now: now)
        let tokenTime = queues.nextEligible ?? .max
        #expect(tokenTime <= now)
        let next = queues.dequeue(now: now)
        #expect(next?.slot == 99 && next?.isSparse == true)
        let isOver = queues.dequeue(now: now) == nil
        #expect(isOver)
    }
}
