import EgressScheduling
import PacketFormats
import TestSupport
import Testing

/// What classes, flows and tenants get of a line whose rate is known.
@Suite struct ShapedLinkTests {
    private typealias Source = ShapedLink.Source
    private static let packetTime20: UInt64 = 600_000

    @Test(arguments: TrafficClass.allCases)
    func anyClassAloneUsesTheRateUp(trafficClass: TrafficClass) {
        for rate: Int64 in [2_000_000, 20_000_000, 200_000_000] {
            for slack: UInt64 in [60_000, 1_000_000] {
                var link = ShapedLink(bitsPerSecond: rate)
                link.timerSlackNanoseconds = slack
                link.run([Source(trafficClass: trafficClass, flow: 1)], milliseconds: 500)
                let used = link.rate(milliseconds: 500) / Double(rate)
                #expect(used > 0.97 && used < 1.02, "\(rate) bit/s, slack \(slack): \(used)")
            }
        }
    }

    /// 20 streams with 20 ms between tokens beside four uploads, as the benchmark has them.
    @Test(arguments: [0, 1])
    func tokensWaitForAPacketAtMost(bulkTenant: Int) {
        var link = ShapedLink(
            bitsPerSecond: 20_000_000, tenants: [TenantLimits(), TenantLimits()])
        let uploads = (0..<4).map {
            Source(trafficClass: .bulk, tenant: bulkTenant, flow: UInt32($0), window: 50)
        }
        let streams = (10..<30).map {
            Source(
                trafficClass: .token, flow: UInt32($0), bytes: 200,
                intervalNanoseconds: 20_000_000)
        }
        link.run(uploads + streams, milliseconds: 3_000)
        let p99 = link.delay(of: .token, percentile: 99)
        let most = link.delay(of: .token, percentile: 100)
        print("tokens beside tenant \(bulkTenant)'s bulk: p99 \(p99) ns, most \(most) ns")
        #expect(p99 <= 2 * Self.packetTime20)
        #expect(most <= 4 * Self.packetTime20)
        #expect(link.rate(milliseconds: 3_000) > 0.97 * 20_000_000)
    }

    /// A long prompt is the same tenant's, and sent from new connections all the time.
    @Test func tokensDoNotWaitForPrompts() {
        var link = ShapedLink(bitsPerSecond: 20_000_000)
        let prompts = (0..<30).map {
            Source(
                trafficClass: .prompt, flow: UInt32($0), intervalNanoseconds: 15_000_000)
        }
        let stream = Source(
            trafficClass: .token, flow: 99, bytes: 200, intervalNanoseconds: 20_000_000)
        link.run(prompts + [stream], milliseconds: 1_000)
        #expect(link.delay(of: .token, percentile: 100) <= 2 * Self.packetTime20)
        #expect(link.delay(of: .prompt, percentile: 50) > 20 * Self.packetTime20)
    }

    @Test func allClassesBacklogShareAsTheRuleSays() {
        var link = ShapedLink(bitsPerSecond: 100_000_000)
        link.run(
            TrafficClass.allCases.map {
                Source(trafficClass: $0, flow: UInt32($0.rawValue), window: 40)
            }, milliseconds: 4_000)
        let shares = TrafficClass.allCases.indices.map { link.share($0) }
        print("shares: \(shares)")
        // A tenth, and its weight in what the weighted ones get.
        #expect(shares[0] > 0.09 && shares[0] < 0.16)
        #expect(abs(shares[5] - 0.02) < 0.004)
        let priority = shares[1] + shares[2], weighted = shares[3] + shares[4]
        #expect(abs(priority / (priority + weighted) - 0.8) < 0.02)
        #expect(shares[1] > 0.49 * priority)
        #expect(abs(shares[3] / shares[4] / (10.0 / 3) - 1) < 0.05)
    }

    @Test(arguments: 0..<12)
    func whoeverWaitsGetsSomething(seed: UInt64) {
        print("starvation seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let percent = Int.random(in: 0...99, using: &random)
        var weights: [TrafficClass: Int] = [:]
        for trafficClass in TrafficClass.allCases {
            weights[trafficClass] = Int.random(in: 1...20, using: &random)
        }
        let rate = [5_000_000, 50_000_000, 800_000_000].randomElement(using: &random) ?? 1
        var link = ShapedLink(bitsPerSecond: Int64(rate))
        let policy = ClassPolicy(weights: weights, priorityPercent: percent)
        link.queues.setClasses(policy, of: 0)
        var sources: [Source] = []
        for trafficClass in TrafficClass.allCases where random.chance(percent: 75) {
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                sources.append(
                    Source(
                        trafficClass: trafficClass, flow: UInt32(sources.count),
                        bytes: Int.random(in: 100...1_498, using: &random), window: 30))
            }
        }
        link.run(sources, milliseconds: 3_000)
        var shares: [TrafficClass: Double] = [:]
        for (index, source) in sources.enumerated() {
            shares[source.trafficClass, default: 0] += link.share(index)
        }
        let text = "seed \(seed), \(percent) %, \(weights), \(shares)"
        if let background = shares[.background], shares.count > 1 {
            #expect(background > 0.015, "\(text)")
        }
        let preferred = (shares[.token] ?? 0) + (shares[.activation] ?? 0)
        let weighted = [TrafficClass.prompt, .bulk].filter { shares[$0] != nil }
        let sum = weighted.reduce(0) { $0 + (weights[$1] ?? 1) }
        let others = TrafficClass.allCases.dropLast().filter {
            shares[$0] != nil && !weighted.contains($0)
        }.reduce(0) { $0 + (weights[$1] ?? 1) }
        for trafficClass in weighted {
            // What the caps leave, or what the weights give when caps are exceeded by them.
            let weight = Double(weights[trafficClass] ?? 1)
            let left = preferred > 0 ? Double(100 - percent) / 100 : 1
            let least = min(left * weight / Double(sum), weight / Double(sum + others))
            #expect((shares[trafficClass] ?? 0) > 0.8 * 0.87 * least, "\(text)")
        }
        if let token = shares[.token], shares[.activation] != nil {
            #expect(token > 0.45 * preferred, "\(text)")
        }
    }

    @Test(arguments: [20_000_000, 200_000_000] as [Int64])
    func oneFlowGetsAsMuchAsThirtyTwo(rate: Int64) {
        var link = ShapedLink(bitsPerSecond: rate, tenants: [TenantLimits(), TenantLimits()])
        let one = Source(trafficClass: .bulk, tenant: 0, flow: 1, window: 60)
        let many = (0..<32).map {
            Source(trafficClass: .bulk, tenant: 1, flow: UInt32($0), bytes: 700)
        }
        link.run([one] + many, milliseconds: 2_000)
        let own = Double(link.results[0].bytes)
        let other = Double(link.results.dropFirst().reduce(0) { $0 + $1.bytes })
        #expect(jainIndex([own, other]) > 0.999, "\(own) against \(other)")
    }

    @Test func flowsOfOneClassShareEqually() {
        var link = ShapedLink(bitsPerSecond: 20_000_000)
        link.run(
            (0..<32).map { Source(trafficClass: .bulk, flow: $0, bytes: 300 + 37 * Int($0)) },
            milliseconds: 3_000)
        #expect(jainIndex(link.results.map { Double($0.bytes) }) > 0.98)
    }

    /// The oldest frame of any flow is next, and deadlines hold beside tokens that always wait.
    @Test func activationMeetsItsDeadline() {
        var link = ShapedLink(bitsPerSecond: 20_000_000)
        link.queues.setClasses(
            ClassPolicy(activationDeadlineNanoseconds: 8_000_000), of: 0)
        let activations = (0..<4).map {
            Source(trafficClass: .activation, flow: UInt32($0), intervalNanoseconds: 10_000_000)
        }
        let tokens = (10..<14).map { Source(trafficClass: .token, flow: UInt32($0), bytes: 300) }
        let upload = Source(trafficClass: .bulk, flow: 99)
        link.run(activations + tokens + [upload], milliseconds: 2_000)
        let most = link.delay(of: .activation, percentile: 100)
        print("activation: most \(most) ns")
        #expect(most <= 9_000_000)
    }

    @Test func aStandingQueueIsSignalledAndASparseOneIsNot() {
        var link = ShapedLink(bitsPerSecond: 20_000_000)
        let upload = Source(trafficClass: .bulk, flow: 1, window: 100)
        let stream = Source(
            trafficClass: .token, flow: 2, bytes: 200, intervalNanoseconds: 20_000_000)
        link.run([upload, stream], milliseconds: 90)
        #expect(link.results[0].signals == 0, "before an interval is over")
        link.run([upload, stream], milliseconds: 2_000)
        #expect(link.results[0].signals >= 10)
        #expect(link.results[1].signals == 0)
        var unshaped = ShapedLink(bitsPerSecond: nil)
        unshaped.queues.setPath(5, of: 0, shape: LinkShape(bitsPerSecond: 1_000_000), now: 1)
        for slot in 0..<100 as Range<Int32> {
            _ = unshaped.queues.enqueue(bulk(slot, of: 0, flow: 1, 1_498), now: 1)
        }
        while let next = unshaped.queues.dequeue(now: 10_000_000_000) {
            #expect(!next.isSignalled)
        }
    }

    @Test(arguments: [5_000_000, 20_000_000, 200_000_000] as [Int64])
    func whoHeedsSignalsWaitsLittle(rate: Int64) {
        var link = ShapedLink(bitsPerSecond: rate)
        let sources = (0..<2).map {
            Source(trafficClass: .bulk, flow: UInt32($0), window: 200, isResponsive: true)
        }
        link.run(sources, milliseconds: 4_000)
        let median = link.delay(of: .bulk, percentile: 50)
        #expect(median < 40_000_000, "\(median) ns")
        #expect(link.rate(milliseconds: 4_000) > 0.97 * Double(rate))
    }

    @Test func maximaAndPromisesHoldOnAShapedLink() {
        var link = ShapedLink(
            bitsPerSecond: 100_000_000,
            tenants: [
                TenantLimits(maximumRate: 20_000_000),
                TenantLimits(minimumRate: 50_000_000), TenantLimits(weight: 10),
            ])
        link.run(
            (0..<3).map { Source(trafficClass: .bulk, tenant: $0, flow: 1, window: 60) },
            milliseconds: 3_000)
        #expect(link.share(0) < 0.22)
        #expect(link.share(1) > 0.48)
        #expect(link.rate(milliseconds: 3_000) > 97_000_000)
    }
}
