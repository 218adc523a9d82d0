import EgressScheduling
import Foundation
import Glibc
import PacketFormats
import Testing

/// What a queued frame costs, printed where QUEUE_MEASUREMENT is set.
///
///     QUEUE_MEASUREMENT=1 swift test -c release --filter QueueMeasurement
@Suite(
    .serialized, .enabled(if: ProcessInfo.processInfo.environment["QUEUE_MEASUREMENT"] != nil))
struct QueueMeasurement {
    private static let rounds = 15
    private static let framesPerRound = 400_000

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var limits = TenantLimits()
        var isShaped = false
        var paths: Int32 = 0
        var flows: UInt32 = 64
        /// Frames that come before the same number leaves.
        var burst = 32
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "one flow", flows: 1),
        Case(name: "64 flows"),
        Case(name: "64 flows, one frame at a time", burst: 1),
        Case(name: "64 flows, capped", limits: TenantLimits(maximumRate: 10_000_000_000_000)),
        Case(name: "64 flows, shaped link", isShaped: true),
        Case(name: "64 flows, 8 paths", paths: 8),
    ]

    @Test(arguments: cases)
    func aFrameThroughTheQueues(example: Case) {
        var queues = TenantQueues(
            frameCapacity: 4_096, quantumBytes: 65_535, frameOverheadBytes: 600)
        queues.add(tenant: 0, limits: example.limits)
        let line = LinkShape(bitsPerSecond: 1_000_000_000_000)
        if example.isShaped { queues.setLink(line, now: 1) }
        for path in 0..<example.paths { queues.setPath(path, of: 0, shape: line, now: 1) }
        var times: [Double] = []
        var number: UInt32 = 0
        var now: UInt64 = 1_000_000_000
        var departed = 0
        for _ in 0..<Self.rounds {
            let start = Self.threadNanoseconds
            for _ in 0..<Self.framesPerRound / example.burst {
                for _ in 0..<example.burst {
                    number &+= 1
                    let flow = number % example.flows
                    let isQueued = queues.enqueue(
                        EgressFrame(
                            slot: 1, tenant: 0,
                            path: example.paths > 0 ? Int32(flow) % example.paths : -1,
                            trafficClass: .bulk, flow: flow, byteCount: 1_420,
                            wireByteCount: 1_480), now: now)
                    precondition(isQueued)
                }
                now &+= 1_000_000
                while queues.dequeue(now: now) != nil { departed += 1 }
            }
            let spent = Self.threadNanoseconds - start
            times.append(Double(spent) / Double(Self.framesPerRound))
        }
        times.sort()
        let median = times[times.count / 2]
        print("\(example.name): \(median) ns, \(times[0])...\(times[times.count - 1]) ns")
        #expect(departed > 0)
    }

    /// One line's change is no work for the flows and lines of all others: a table a hundred times
    /// as large should cost about the same.
    @Test(arguments: [1_000, 100_000])
    func aLineChanges(frameCapacity: Int) {
        var queues = TenantQueues(frameCapacity: frameCapacity, quantumBytes: 1_514)
        queues.add(tenant: 0, limits: TenantLimits())
        let times = (1...Self.rounds).map { round in
            let start = Self.threadNanoseconds
            for path in 0..<200 as Range<Int32> {
                let shape = LinkShape(bitsPerSecond: 1_000_000 * Int64(round))
                queues.setPath(path, of: 0, shape: shape, now: 1)
            }
            return Double(Self.threadNanoseconds - start) / 200
        }.sorted()
        print("a line among \(frameCapacity) frames: \(times[times.count / 2]) ns")
        let isShaped = queues.splits(tenant: 0, path: 199)
        #expect(isShaped)
    }

    /// Time of this thread alone: other tests run beside it.
    ///
    /// clock_gettime(2)
    private static var threadNanoseconds: UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
