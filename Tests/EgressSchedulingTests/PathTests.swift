import EgressScheduling
import PacketFormats
import TestSupport
import Testing

/// Peers with lines of their own.
@Suite struct PathTests {
    private typealias Source = ShapedLink.Source

    private func makeLink(
        _ bitsPerSecond: Int64?, paths: [Int64], tenants: Int = 1
    ) -> ShapedLink {
        var link = ShapedLink(
            bitsPerSecond: bitsPerSecond, tenants: .init(repeating: TenantLimits(), count: tenants))
        for (path, rate) in paths.enumerated() {
            link.queues.setPath(
                Int32(path), of: 0, shape: LinkShape(bitsPerSecond: rate), now: link.now)
        }
        return link
    }

    @Test func eachPathHasItsOwnRate() {
        let rates: [Int64] = [1_000_000, 10_000_000, 50_000_000]
        var link = makeLink(nil, paths: rates)
        link.run(
            rates.indices.map {
                Source(trafficClass: .bulk, path: Int32($0), flow: UInt32($0), window: 60)
            }, milliseconds: 2_000)
        for (index, rate) in rates.enumerated() {
            let used = Double(link.results[index].bytes) * 4 / Double(rate)
            #expect(used > 0.97 && used < 1.03, "path \(index): \(used)")
            let sent = link.queues.wireBytesSent(onPath: Int32(index), of: 0)
            #expect(sent == UInt64(link.results[index].bytes))
        }
    }

    /// A busy line holds up neither the other paths nor the peers without one, nor other tenants.
    @Test func aBusyLineHoldsUpNobodyElse() {
        var link = makeLink(20_000_000, paths: [1_000_000], tenants: 2)
        link.run(
            [
                Source(trafficClass: .bulk, path: 0, flow: 1, window: 60),
                Source(trafficClass: .bulk, path: 7, flow: 2, window: 60),
                Source(trafficClass: .bulk, tenant: 1, flow: 3, window: 60),
                Source(
                    trafficClass: .token, path: 7, flow: 4, bytes: 200,
                    intervalNanoseconds: 20_000_000),
            ], milliseconds: 2_000)
        #expect(link.rate(milliseconds: 2_000) > 0.97 * 20_000_000)
        #expect(abs(link.share(0) - 0.05) < 0.005)
        #expect(abs(link.share(2) - 0.5) < 0.01)
        #expect(link.delay(of: .token, percentile: 100) < 2_500_000)
    }

    @Test func manyPathsAreOneTenant() {
        var link = makeLink(
            100_000_000, paths: .init(repeating: 50_000_000, count: 20), tenants: 2)
        let paths = (0..<20).map {
            Source(trafficClass: .bulk, path: $0, flow: UInt32($0), bytes: 500 + 50 * Int($0))
        }
        link.run(
            paths + [Source(trafficClass: .bulk, tenant: 1, flow: 99, window: 60)],
            milliseconds: 2_000)
        #expect(abs(link.share(20) - 0.5) < 0.01)
        #expect(jainIndex(link.results.prefix(20).map { Double($0.bytes) }) > 0.98)
    }

    /// The link is what is short: a stream to one peer does not wait for the bulk of all others.
    @Test func tokensOfOnePathPassTheBulkOfOthers() {
        var link = makeLink(50_000_000, paths: .init(repeating: 40_000_000, count: 30))
        let uploads = (0..<30).map { Source(trafficClass: .bulk, path: $0, flow: UInt32($0)) }
        let stream = Source(
            trafficClass: .token, path: 3, flow: 99, bytes: 200, intervalNanoseconds: 5_000_000)
        link.run(uploads + [stream], milliseconds: 1_000)
        #expect(link.delay(of: .token, percentile: 100) < 1_500_000)
        // And does not take the path's other frames their turns.
        #expect(jainIndex(link.results.prefix(30).map { Double($0.bytes) }) > 0.95)
    }

    @Test func urgentPathsStarveNobody() {
        var link = makeLink(20_000_000, paths: [15_000_000, 15_000_000])
        link.run(
            [
                Source(trafficClass: .token, path: 0, flow: 1, window: 60),
                Source(trafficClass: .bulk, path: 1, flow: 2, window: 60),
            ], milliseconds: 2_000)
        #expect(link.share(1) > 0.18)
        #expect(link.share(0) > 0.45)
    }

    /// Who sent urgent frames while nobody else waited is not in anybody's debt, and who sent them
    /// while others waited is for a while only.
    @Test func whatWasUrgentIsNotOwedForLong() {
        for isAlone in [true, false] {
            var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_514)
            queues.add(tenant: 0, limits: TenantLimits())
            let shape = LinkShape(bitsPerSecond: LinkShape.bitsPerSecondMax)
            for path in 0..<2 as Range<Int32> {
                queues.setPath(path, of: 0, shape: shape, now: 1)
            }
            var now: UInt64 = 1_000_000_000
            func add(_ trafficClass: TrafficClass, _ path: Int32, _ flow: UInt32) {
                let isQueued = queues.enqueue(
                    frame(path, trafficClass, path: path, flow: flow, 1_500), now: now)
                #expect(isQueued)
            }
            for _ in 0..<8 { add(.bulk, 0, 1) }
            if !isAlone { for _ in 0..<8 { add(.bulk, 1, 2) } }
            func sendOne() -> Departure? {
                now += 1_000
                guard let next = queues.dequeue(now: now) else { return nil }
                if next.trafficClass == .bulk { add(.bulk, next.path, UInt32(next.path) + 1) }
                return next
            }
            for _ in 0..<20_000 {
                add(.token, 0, 3)
                while let next = sendOne(), next.trafficClass != .token {}
            }
            if isAlone { for _ in 0..<8 { add(.bulk, 1, 2) } }
            var counts = [0, 0]
            for _ in 0..<160 {
                guard let next = sendOne() else { continue }
                counts[Int(next.path)] += 1
            }
            // At most 32 packets are owed.
            #expect(counts[0] >= (isAlone ? 79 : 60), "alone \(isAlone): \(counts)")
        }
    }

    /// What a flow may send before others' turn is a packet from the moment its line is slow.
    @Test func roundsOfLargeFramesEndWhenALineBecomesSlow() {
        var queues = TenantQueues(frameCapacity: 200, quantumBytes: 65_535)
        queues.add(tenant: 0, limits: TenantLimits())
        queues.setPath(1, of: 0, shape: LinkShape(bitsPerSecond: 10_000_000_000), now: 1)
        for flow in 1...2 as ClosedRange<UInt32> {
            for _ in 0..<80 {
                _ = queues.enqueue(
                    frame(Int32(flow), .bulk, path: 1, flow: flow, 1_498), now: 1)
            }
        }
        var now: UInt64 = 1_000_000_000
        for _ in 0..<4 {
            now += 1_000_000_000
            _ = queues.dequeue(now: now)
        }
        queues.setPath(1, of: 0, shape: LinkShape(bitsPerSecond: 20_000_000), now: now)
        var slots: [Int32] = []
        for _ in 0..<20 {
            now += 1_000_000_000
            if let next = queues.dequeue(now: now) { slots.append(next.slot) }
        }
        #expect(abs(slots.count { $0 == 1 } - 10) <= 2, "\(slots)")
    }

    @Test func framesFollowTheirFlowToItsPath() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 65_535)
        queues.add(tenant: 0, limits: TenantLimits())
        let shape = LinkShape(bitsPerSecond: 1_000_000)
        for slot in 0..<5 as Range<Int32> {
            _ = queues.enqueue(frame(slot, .bulk, path: 9, flow: 1, 1_000), now: 1)
        }
        queues.setPath(9, of: 0, shape: shape, now: 1)
        let before = queues.occupancy(ofPath: 9, of: 0)
        #expect(before == Occupancy())
        _ = queues.enqueue(frame(5, .bulk, path: 9, flow: 1, 1_000), now: 1)
        let moved = queues.occupancy(ofPath: 9, of: 0)
        let common = queues.occupancy(ofPath: -1, of: 0)
        #expect(moved == Occupancy(packets: 6, bytes: 6_000) && common == Occupancy())
        var slots: [Int32] = []
        while let next = queues.dequeue(now: 1) {
            #expect(next.path == 9)
            slots.append(next.slot)
        }
        #expect(slots.count < 6)
        let eligible = queues.nextEligible
        #expect(eligible != nil)
        queues.setPath(9, of: 0, shape: nil, now: 1)
        while let next = queues.dequeue(now: 1) {
            #expect(next.path == -1)
            slots.append(next.slot)
        }
        #expect(slots == [0, 1, 2, 3, 4, 5])
    }

    @Test func slowLinesWantSplitFrames() {
        var queues = TenantQueues(frameCapacity: 10, quantumBytes: 65_535)
        for tenant in 0..<2 { queues.add(tenant: tenant, limits: TenantLimits()) }
        func splits(_ tenant: Int, _ path: Int32) -> Bool {
            queues.splits(tenant: tenant, path: path)
        }
        #expect(!splits(0, 3) && !splits(5, -1))
        queues.setPath(3, of: 0, shape: LinkShape(bitsPerSecond: 499_999_999), now: 0)
        #expect(splits(0, 3) && !splits(0, 4) && !splits(0, -1) && !splits(1, 3))
        queues.setPath(3, of: 0, shape: LinkShape(bitsPerSecond: 500_000_000), now: 0)
        #expect(!splits(0, 3))
        queues.setLink(LinkShape(bitsPerSecond: 100_000_000), now: 0)
        #expect(splits(0, 3) && splits(1, -1))
        queues.setLink(nil, now: 0)
        #expect(!splits(0, 3) && !splits(1, -1))
    }

    @Test func aPathHoldsNoMoreThanItsLineSoonSends() {
        var queues = TenantQueues(frameCapacity: 4_000, quantumBytes: 65_535)
        queues.add(tenant: 0, limits: TenantLimits())
        queues.setPath(1, of: 0, shape: LinkShape(bitsPerSecond: 8_000_000), now: 0)
        for slot in 0..<1_000 as Range<Int32> {
            _ = queues.enqueue(frame(slot, .bulk, path: 1, flow: 1, 1_000), now: 0)
            _ = queues.enqueue(frame(slot, .bulk, path: 2, flow: 2, 1_000), now: 0)
        }
        var dropped = 0
        while let next = queues.dropExcess(of: 0, path: 1) {
            #expect(Int(next.slot) == dropped)
            dropped += 1
        }
        let rest = queues.occupancy(ofPath: 1, of: 0).bytes
        #expect(rest == 500_000)
        let others = queues.dropExcess(of: 0, path: 2)
        #expect(others == nil)
    }
}
