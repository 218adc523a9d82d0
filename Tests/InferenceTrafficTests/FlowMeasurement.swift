import Foundation
import Glibc
import PacketFormats
import PacketMemory
import Testing

@testable import InferenceTraffic

/// What a packet costs, printed where FLOW_MEASUREMENT is set.
///
///     FLOW_MEASUREMENT=1 swift test -c release --filter FlowMeasurement
@Suite(
    .serialized, .enabled(if: ProcessInfo.processInfo.environment["FLOW_MEASUREMENT"] != nil))
struct FlowMeasurement {
    private func nanoseconds(
        flows: Int, payload: Int, _ name: String, segmentByteCount: Int = 0
    ) -> Double {
        var table = FlowTable(capacity: 100_000, seed: (3, 4))
        let rules = ClassRules(believedMarks: [.af21: .token])
        let arena = ByteArena(count: 65_536)
        var packet = Connection(serverPort: 443).packet(from: .client)
        let region = packet.write([UInt8](repeating: 1, count: payload), to: arena.whole)
        packet.segmentByteCount = segmentByteCount
        guard let view = IPPacket(region) else { return 0 }
        var sequence: UInt32 = 1
        var now: UInt64 = 1_000_000_000
        var sum: UInt64 = 0
        func pass(_ rounds: Int) {
            for round in 0..<rounds {
                region.storeBigEndian(UInt16(truncatingIfNeeded: round % flows), at: 20)
                region.storeBigEndian(sequence, at: 24)
                if flows == 1 || round % flows == flows - 1 {
                    sequence &+= UInt32(payload)
                }
                let verdict = table.observe(
                    view, segmentByteCount: segmentByteCount, direction: .outbound, tunnel: 0,
                    peer: 1, ceiling: .control, rules: rules, now: now)
                sum &+= UInt64(verdict.flow)
                now &+= 1_000
            }
        }
        pass(flows * 40)
        var best = UInt64.max
        let rounds = max(20_000, flows * 2)
        for _ in 0..<10 {
            let start = Self.threadNanoseconds
            pass(rounds)
            best = min(best, Self.threadNanoseconds - start)
        }
        let cost = Double(best) / Double(rounds)
        print("\(name): \(cost) ns (\(sum & 1))")
        return cost
    }

    /// Time of this thread alone: other tests run beside it.
    ///
    /// clock_gettime(2)
    private static var threadNanoseconds: UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    @Test func costOfAPacket() {
        _ = nanoseconds(
            flows: 1, payload: 60_000, "frame of a bulk flow", segmentByteCount: 1_400)
        _ = nanoseconds(flows: 10_000, payload: 1_400, "packet of one of 10,000 flows")
        _ = nanoseconds(flows: 1, payload: 0, "acknowledgement")
    }
}
