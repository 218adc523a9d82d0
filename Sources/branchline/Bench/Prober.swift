import LinuxNetworking
import PacketFormats
import PathBenchmark
import Synchronization

/// Sends a small datagram every few milliseconds and times its way there and back.
final class Prober: Sendable {
    private let socket: DatagramSocket
    private let server: Endpoint
    private let token: TestToken
    private let plannedNanoseconds: UInt64
    private let isStopped = Atomic(false)
    private let ledger = Mutex(ProbeLedger())
    private let thread = Mutex<WorkerThread?>(nil)

    private init(
        _ socket: DatagramSocket, to server: Endpoint, token: TestToken, milliseconds: UInt32
    ) {
        self.socket = socket
        self.server = server
        self.token = token
        plannedNanoseconds = UInt64(milliseconds) * 1_000_000
    }

    /// - Parameter local: Our address; each prober has a port of its own, so that no answer comes
    ///   to another part's.
    static func start(
        from local: IPAddress, to server: Endpoint, device: String, token: TestToken,
        milliseconds: UInt32
    ) throws -> Prober {
        do {
            let socket = try DatagramSocket(
                boundTo: Endpoint(address: local, port: 0), device: device)
            let prober = Prober(socket, to: server, token: token, milliseconds: milliseconds)
            let loop = try EventLoop(capacity: 1)
            try loop.add(prober.socket.fileDescriptor, token: 0, events: .readable)
            let thread = try WorkerThread.start(name: "bench-probes") { _ in prober.run(loop) }
            prober.thread.withLock { $0 = thread }
            return prober
        } catch {
            throw Failure.failed("cannot send probes: \(error)")
        }
    }

    /// What was seen so far.
    var roundTrips: RoundTrips? { ledger.withLock { $0.summary } }

    /// Waits for the last answers, unless it is to stop at once.
    func finish(atOnce: Bool) -> RoundTrips? {
        if atOnce { isStopped.store(true, ordering: .relaxed) }
        thread.withLock { $0 }?.join()
        socket.close()
        return roundTrips
    }

    private func run(_ loop: EventLoop) {
        let began = Clock.monotonicNanoseconds()
        let end = began + plannedNanoseconds
        let lastEnd = end + UInt64(TestLimits.probeSecondsMax) * 1_000_000_000
        var due = began
        var buffer = [UInt8](repeating: 0, count: TestMessage.byteCount)
        while !isStopped.load(ordering: .relaxed) {
            let now = Clock.monotonicNanoseconds()
            let isSending = now < end
            if now >= lastEnd || (!isSending && ledger.withLock { $0.isComplete }) { return }
            if isSending && now >= due {
                let number = ledger.withLock { $0.send(at: Clock.monotonicNanoseconds()) }
                socket.send(TestMessage.probe(token, number: number).bytes, to: server)
                // What was late stays late: a burst would measure itself.
                due = max(due, now) + Self.intervalNanoseconds
            }
            let next = isSending ? min(due, end) : min(lastEnd, now + Self.lookNanoseconds)
            let left = Int64(clamping: next) - Int64(clamping: Clock.monotonicNanoseconds())
            if loop.wait(timeoutNanoseconds: max(left, 0)) > 0 { receive(&buffer) }
        }
    }

    private func receive(_ buffer: inout [UInt8]) {
        while let (byteCount, source) = socket.receive(into: &buffer) {
            let now = Clock.monotonicNanoseconds()
            guard byteCount == TestMessage.byteCount, source.address == server.address,
                source.port == server.port,
                case .probe(token, let number) = try? TestMessage(buffer)
            else { continue }
            _ = ledger.withLock { $0.receive(number, at: now) }
        }
    }

    private static let intervalNanoseconds = UInt64(TestLimits.probeMilliseconds) * 1_000_000
    private static let lookNanoseconds: UInt64 = 50_000_000
}
