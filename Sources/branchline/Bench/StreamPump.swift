import Glibc
import LinuxNetworking
import PathBenchmark
import Synchronization

/// Carries bytes over a part's connections, each on a thread of its own, until the part is over.
final class StreamPump: Sendable {
    enum Way {
        case send
        case receive
    }

    private let streams: [StreamSocket]
    private let way: Way
    private let began: UInt64
    private let plannedNanoseconds: UInt64
    private let pieceByteCount: Int
    private let budget: Mutex<RateBudget>
    private let byteCount = Atomic<UInt64>(0)
    private let runningCount: Atomic<Int>
    private let isStopped = Atomic(false)
    private let threads = Mutex<[WorkerThread]>([])

    /// - Parameter bitsPerSecondMax: For all together; `nil` for no limit.
    private init(
        _ streams: [StreamSocket], _ way: Way, _ milliseconds: UInt32, _ bitsPerSecondMax: Int64?
    ) {
        self.streams = streams
        self.way = way
        began = Clock.monotonicNanoseconds()
        plannedNanoseconds = UInt64(milliseconds) * 1_000_000
        let budget = RateBudget(bitsPerSecond: bitsPerSecondMax, now: began)
        pieceByteCount = budget.pieceByteCount(
            streamCount: streams.count, atMost: Self.pieceByteCountMax)
        self.budget = Mutex(budget)
        runningCount = Atomic(streams.count)
    }

    static func start(
        _ streams: [StreamSocket], _ way: Way, milliseconds: UInt32,
        bitsPerSecondMax: Int64? = nil
    ) throws -> StreamPump {
        let pump = StreamPump(streams, way, milliseconds, bitsPerSecondMax)
        for stream in streams {
            do {
                let thread = try WorkerThread.start(name: "bench-stream") { _ in
                    pump.run(stream)
                }
                pump.threads.withLock { $0.append(thread) }
            } catch {
                _ = pump.finish()
                throw Failure.failed("cannot start a thread: \(error)")
            }
        }
        return pump
    }

    /// Whether its time is over, or the other side has ended all connections.
    var isOver: Bool { runningCount.load(ordering: .acquiring) == 0 || elapsed.isOver }

    /// What has been carried so far.
    var transfer: TestMessage.Transfer {
        TestMessage.Transfer(
            byteCount: byteCount.load(ordering: .relaxed), nanoseconds: elapsed.nanoseconds,
            retransmissions: streams.reduce(0) { $0 &+ $1.retransmissions })
    }

    /// Ends all connections and threads.
    ///
    /// - Returns: What was carried in the time that was planned.
    func finish() -> TestMessage.Transfer {
        isStopped.store(true, ordering: .relaxed)
        let carried = transfer
        for stream in streams { stream.abort() }
        for thread in threads.withLock({ $0 }) { thread.join() }
        for stream in streams { stream.close() }
        return carried
    }

    private var elapsed: (nanoseconds: UInt64, isOver: Bool) {
        let nanoseconds = Clock.monotonicNanoseconds() &- began
        return (min(nanoseconds, plannedNanoseconds), nanoseconds >= plannedNanoseconds)
    }

    private func run(_ stream: StreamSocket) {
        var buffer = [UInt8](repeating: Self.filler, count: Self.pieceByteCountMax)
        let end = began + plannedNanoseconds
        while !isStopped.load(ordering: .relaxed) {
            let now = Clock.monotonicNanoseconds()
            if now >= end { break }
            let count =
                way == .send
                ? stream.send(buffer, upTo: pieceByteCount)
                : stream.receive(into: &buffer, upTo: pieceByteCount)
            if count > 0 {
                byteCount.add(UInt64(count), ordering: .relaxed)
                pause(budget.withLock { $0.take(count, now: now) }, end: end)
            } else if count == -Int(EAGAIN) {
                let deadline = min(end, now + Self.lookNanoseconds)
                if way == .send {
                    try? stream.awaitWritable(until: deadline)
                } else {
                    _ = stream.isReadable(by: deadline)
                }
            } else {
                break
            }
        }
        runningCount.subtract(1, ordering: .releasing)
    }

    private func pause(_ nanoseconds: UInt64, end: UInt64) {
        var left = nanoseconds
        while left > 0, !isStopped.load(ordering: .relaxed), Clock.monotonicNanoseconds() < end {
            let step = min(left, Self.lookNanoseconds)
            usleep(UInt32(step / 1000))
            left -= step
        }
    }

    private static let pieceByteCountMax = 131_072
    private static let lookNanoseconds: UInt64 = 50_000_000
    /// What is encrypted costs the same whatever it is.
    private static let filler: UInt8 = 0x42
}
