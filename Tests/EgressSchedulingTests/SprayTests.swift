import EgressScheduling
import PacketFormats
import Testing

/// A sender that changes its port for each datagram, so that each is a new flow.
@Suite struct SprayTests {
    private static let rate = 20_000_000
    private static let streamFlow: UInt32 = 1
    private static let millisecond: UInt64 = 1_000_000

    private struct Outcome {
        var sent = 0
        var lost = 0
        var delays: [UInt64] = []
        var sprayBytes = 0
    }

    /// A stream of three chunks every 20 ms in a line that datagrams fill to 110 %, all of one
    /// class; it begins a little before them.
    ///
    /// - Parameter ports: After how many the sprayed flows repeat.
    private func stream(
        seconds: UInt64, frameCapacity: Int, framesPerFlow: UInt32 = 1, ports: UInt32 = .max
    ) -> Outcome {
        var queues = TenantQueues(
            frameCapacity: frameCapacity, quantumBytes: 65_535, frameOverheadBytes: 600)
        queues.add(tenant: 0, limits: TenantLimits())
        var now: UInt64 = 1_000_000_000
        queues.setLink(LinkShape(bitsPerSecond: Int64(Self.rate)), now: now)
        var outcome = Outcome()
        let end = now + seconds * 1_000_000_000
        var (nextChunk, nextDatagram) = (now, now + 100 * Self.millisecond)
        var number: UInt32 = 0
        func add(_ slot: Int32, flow: UInt32, _ size: Int, wire: Int) {
            func count(_ dropped: DroppedFrame) { if dropped.slot == 1 { outcome.lost += 1 } }
            let entry = EgressFrame(
                slot: slot, tenant: 0, trafficClass: .token, flow: flow, byteCount: size,
                wireByteCount: wire)
            while !queues.enqueue(entry, now: now) {
                if let dropped = queues.dropFromLongest() { count(dropped) }
            }
            while let dropped = queues.dropExcess(of: 0) { count(dropped) }
        }
        while now < end {
            while nextDatagram <= now {
                // 22 Mbit/s with 4,000 datagrams a second.
                add(2, flow: 100 + number / framesPerFlow % ports, 592, wire: 688)
                number += 1
                nextDatagram += 250_000
            }
            while nextChunk <= now {
                for _ in 0..<3 { add(1, flow: Self.streamFlow, 900, wire: 996) }
                outcome.sent += 3
                nextChunk += 20 * Self.millisecond
            }
            while let next = queues.dequeue(now: now) {
                if next.slot == 1 {
                    outcome.delays.append(next.sojournNanoseconds)
                } else {
                    outcome.sprayBytes += next.wireByteCount
                }
            }
            now = max(now + 1, min(nextDatagram, nextChunk, queues.nextEligible ?? .max))
        }
        outcome.delays.sort()
        return outcome
    }

    @Test(arguments: [1_024, 8_192])
    func datagramsOfNewFlowsDoNotStarveAStream(frameCapacity: Int) {
        let outcome = stream(seconds: 10, frameCapacity: frameCapacity)
        let most = outcome.delays.last ?? .max
        print("\(outcome.delays.count) of \(outcome.sent), \(outcome.lost) lost, most \(most) ns")
        #expect(outcome.lost == 0)
        #expect(outcome.delays.count >= outcome.sent - 3)
        #expect(most < 8 * Self.millisecond)
        // The line is not left idle for it.
        #expect(outcome.sprayBytes > 18 * Self.rate / 20 / 8 * 10)
    }

    /// Nor with as many of each port as a new flow may have.
    @Test func datagramsOfShortFlowsDoNotStarveAStream() {
        let outcome = stream(seconds: 10, frameCapacity: 8_192, framesPerFlow: 3)
        let most = outcome.delays.last ?? .max
        print("\(outcome.delays.count) of \(outcome.sent), \(outcome.lost) lost, most \(most) ns")
        #expect(outcome.lost == 0)
        #expect(outcome.delays.count >= outcome.sent - 3)
        #expect(most < 8 * Self.millisecond)
    }

    /// A port that comes back in its turn is no stream.
    @Test(arguments: [2_000, 4_000, 28_000] as [UInt32])
    func portsThatRepeatDoNotStarveAStream(ports: UInt32) {
        let outcome = stream(seconds: 10, frameCapacity: 8_192, ports: ports)
        let most = outcome.delays.last ?? .max
        print("\(outcome.delays.count) of \(outcome.sent), \(outcome.lost) lost, most \(most) ns")
        #expect(outcome.lost == 0)
        #expect(outcome.delays.count >= outcome.sent - 3)
        #expect(most < 8 * Self.millisecond)
    }

    /// What is bounded is far from what a few sparse flows need.
    @Test func sparseFlowsPassTheBulkOfTheirClass() {
        var link = ShapedLink(bitsPerSecond: Int64(Self.rate))
        let uploads = (0..<4).map {
            ShapedLink.Source(trafficClass: .bulk, flow: UInt32($0), window: 50)
        }
        let streams = (10..<30).map {
            ShapedLink.Source(
                trafficClass: .bulk, flow: UInt32($0), bytes: 200,
                intervalNanoseconds: 20_000_000)
        }
        link.run(uploads + streams, milliseconds: 3_000)
        let most = link.results.dropFirst(4).flatMap(\.delays).max() ?? .max
        #expect(most < 4 * 600_000, "\(most) ns")
    }

    /// Old flows get a third while new ones always wait, and new ones do beside known ones.
    @Test func whoBeginsLeavesOthersAThird() {
        var queues = TenantQueues(frameCapacity: 4_096, quantumBytes: 1_514)
        queues.add(tenant: 0, limits: TenantLimits())
        for known in 0..<500 as Range<UInt32> {
            _ = queues.enqueue(bulk(1, of: 0, flow: 1_000 + known, 500), now: 0)
        }
        while queues.dequeue(now: 0) != nil {}
        for _ in 0..<600 { _ = queues.enqueue(bulk(0, of: 0, flow: 1, 500), now: 0) }
        for flow in 0..<500 as Range<UInt32> {
            _ = queues.enqueue(bulk(1, of: 0, flow: 1_000 + flow, 500), now: 0)
            _ = queues.enqueue(bulk(2, of: 0, flow: 5_000 + flow, 500), now: 0)
        }
        var counts = [0, 0, 0]
        for _ in 0..<900 {
            if let next = queues.dequeue(now: 0) { counts[Int(next.slot)] += 1 }
        }
        #expect(abs(counts[0] - 300) < 10 && abs(counts[2] - 200) < 10, "\(counts)")
    }

    /// A full queue takes from all sprayed flows together, not from whoever has two frames.
    @Test func newFlowsAreDroppedAsOne() {
        var queues = TenantQueues(frameCapacity: 100, quantumBytes: 1_514)
        queues.add(tenant: 0, limits: TenantLimits())
        for slot in 0..<5 as Range<Int32> {
            _ = queues.enqueue(bulk(slot, of: 0, flow: 1, 900), now: 0)
        }
        _ = queues.dequeue(now: 0)
        _ = queues.dequeue(now: 0)
        for slot in 5...102 as ClosedRange<Int32> {
            let isQueued = queues.enqueue(bulk(slot, of: 0, flow: UInt32(slot), 592), now: 0)
            #expect(isQueued == (slot < 102))
        }
        // 57 KB of one frame each beside a flow that holds 2.7 KB.
        for slot in (82..<102 as Range<Int32>).reversed() {
            let dropped = queues.dropFromLongest()
            #expect(dropped?.slot == slot)
        }
    }
}
