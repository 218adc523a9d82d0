import Glibc
import LinuxNetworking
import PacketFormats
import PathBenchmark
import Synchronization
import SystemPackage

/// One test on the server's side: a thread that follows the client's wishes, within limits, and
/// one that sends probes back.
final class ServedTest: Sendable {
    private let conversation: BenchConversation
    private let client: IPAddress
    private let probes: DatagramSocket
    private let token: TestToken
    private let bitsPerSecondMax: Int64?
    private let deadline: UInt64
    private let newestNanoseconds: Atomic<UInt64>
    private let isEnding = Atomic(false)
    private let hasEnded = Atomic(false)
    private let threads = Mutex<[WorkerThread]>([])
    private let streams = Mutex(AwaitedStreams())

    /// Connections of the part that is about to begin.
    private struct AwaitedStreams {
        /// 0 where none is.
        var wantedCount = 0
        var sockets: [StreamSocket] = []

        var isComplete: Bool { sockets.count >= wantedCount }
    }

    private init(
        _ socket: StreamSocket, client: IPAddress, probes: DatagramSocket, bitsPerSecondMax: Int64?
    ) {
        conversation = BenchConversation(socket: socket)
        self.client = client
        self.probes = probes
        var generator = SystemRandomNumberGenerator()
        token = TestToken(using: &generator)
        self.bitsPerSecondMax = bitsPerSecondMax
        deadline = Clock.after(seconds: TestLimits.testSecondsMax)
        newestNanoseconds = Atomic(Clock.monotonicNanoseconds())
    }

    /// - Parameter socket: A connection that has sent its greeting.
    /// - Returns: `nil` where the system does not let it, which is told.
    static func start(
        _ socket: StreamSocket, interface: String, port: UInt16, bitsPerSecondMax: Int64?
    ) -> ServedTest? {
        guard let local = socket.localEndpoint, let remote = socket.remoteEndpoint else {
            return nil
        }
        do {
            let probes = try DatagramSocket(
                boundTo: Endpoint(address: local.address, port: port, scope: local.scope),
                device: interface)
            let test = ServedTest(
                socket, client: remote.address, probes: probes, bitsPerSecondMax: bitsPerSecondMax)
            try test.startThreads()
            return test
        } catch {
            Console.error(
                "branchline: cannot serve a test at UDP port \(port) of \(local.address): \(error)")
            return nil
        }
    }

    private func startThreads() throws {
        let answers = try WorkerThread.start(name: "bench-probes") { _ in self.answer() }
        threads.withLock { $0.append(answers) }
        do {
            let service = try WorkerThread.start(name: "bench-test") { _ in self.serve() }
            threads.withLock { $0.append(service) }
        } catch {
            end()
            throw error
        }
    }

    /// Whether nothing more will come of it; ``end()`` then returns at once.
    var isOver: Bool { hasEnded.load(ordering: .acquiring) }

    /// - Returns: Whether the connection is one that the test waits for.
    func take(_ socket: StreamSocket, _ token: TestToken) -> Bool {
        guard token == self.token, socket.remoteEndpoint?.address == client else { return false }
        return streams.withLock { streams in
            if streams.isComplete { return false }
            streams.sockets.append(socket)
            return true
        }
    }

    func end() {
        isEnding.store(true, ordering: .relaxed)
        for thread in threads.withLock({ $0 }) { thread.join() }
        conversation.socket.close()
        probes.close()
    }

    // MARK: - The client's wishes

    private func serve() {
        defer {
            isEnding.store(true, ordering: .relaxed)
            hasEnded.store(true, ordering: .releasing)
        }
        Console.error("test by \(client)")
        do {
            try conversation.send(
                .welcome(
                    token,
                    TestMessage.Offer(
                        streamsMax: TestLimits.streamsMax,
                        millisecondsMax: UInt32(TestLimits.secondsMax * 1000))))
            for _ in 0..<TestLimits.partsMax {
                let message = try conversation.receive(until: deadline, look: requireLife)
                guard case .request(let direction, let streamCount, let milliseconds) = message
                else { throw BenchConversation.Fault.unreadable(.malformed) }
                guard (1...TestLimits.streamsMax).contains(streamCount),
                    (TestLimits.millisecondsMin...UInt32(TestLimits.secondsMax * 1000))
                        .contains(milliseconds)
                else {
                    try conversation.send(.refusal(.beyondLimits))
                    return
                }
                try carry(direction, Int(streamCount), milliseconds)
            }
        } catch BenchConversation.Fault.ended {
        } catch {
            Console.error("test by \(client): broken off: \(Self.words(for: error))")
        }
    }

    private func carry(
        _ direction: TestMessage.Direction, _ streamCount: Int, _ milliseconds: UInt32
    ) throws {
        guard let sockets = try awaitStreams(streamCount) else {
            try conversation.send(.refusal(.streamsMissing))
            throw BenchConversation.Fault.timedOut
        }
        let pump: StreamPump
        do {
            try conversation.send(.started)
            pump = try StreamPump.start(
                sockets, direction == .up ? .receive : .send, milliseconds: milliseconds,
                bitsPerSecondMax: bitsPerSecondMax)
        } catch {
            for socket in sockets { socket.close() }
            throw error
        }
        do {
            try follow(pump, until: Clock.after(milliseconds: Int(milliseconds)))
        } catch {
            _ = pump.finish()
            throw error
        }
        let transfer = pump.finish()
        note()
        try conversation.send(.result(transfer))
        let rate = transfer.bitsPerSecond.map { Text.rate($0) } ?? "nothing"
        Console.error("test by \(client): \(direction), \(rate)")
    }

    /// - Returns: `nil` where not all have come in time.
    private func awaitStreams(_ count: Int) throws -> [StreamSocket]? {
        var deadline = Clock.after(seconds: TestLimits.answerSecondsMax)
        var arrivedCount = 0
        streams.withLock { $0 = AwaitedStreams(wantedCount: count) }
        do {
            try conversation.send(.ready)
            while !streams.withLock({ $0.isComplete }) {
                try requireLife()
                // They come one after another, and each takes a round trip.
                let newCount = streams.withLock { $0.sockets.count }
                if newCount > arrivedCount {
                    arrivedCount = newCount
                    deadline = Clock.after(seconds: TestLimits.answerSecondsMax)
                }
                guard Clock.monotonicNanoseconds() < deadline else {
                    for socket in takeStreams() { socket.close() }
                    return nil
                }
                try requireSilence(milliseconds: 5)
            }
        } catch {
            for socket in takeStreams() { socket.close() }
            throw error
        }
        return takeStreams()
    }

    /// Those that have come; no more are taken.
    private func takeStreams() -> [StreamSocket] {
        streams.withLock { streams in
            let sockets = streams.sockets
            streams = AwaitedStreams()
            return sockets
        }
    }

    /// Tells how far it is, until the part is over.
    private func follow(_ pump: StreamPump, until end: UInt64) throws {
        var nextWord: UInt64 = 0
        while !pump.isOver {
            note()
            try requireLife()
            try requireSilence(milliseconds: 20)
            let now = Clock.monotonicNanoseconds()
            if now >= nextWord {
                try conversation.send(.progress(pump.transfer))
                nextWord = now + UInt64(TestLimits.progressMilliseconds) * 1_000_000
            }
        }
        // Where all connections have ended early, so has the client.
        while Clock.monotonicNanoseconds() < end {
            try requireLife()
            try requireSilence(milliseconds: 20)
        }
    }

    /// Waits a moment for what is not due: the client's end, or words out of turn.
    private func requireSilence(milliseconds: Int) throws {
        let deadline = Clock.after(milliseconds: milliseconds)
        guard conversation.socket.isReadable(by: deadline) else { return }
        var buffer = [UInt8](repeating: 0, count: 1)
        switch conversation.socket.receive(into: &buffer, upTo: buffer.count) {
        case 1...: throw BenchConversation.Fault.unreadable(.malformed)
        case -Int(EAGAIN): return
        default: throw BenchConversation.Fault.ended
        }
    }

    /// - Throws: If the test is to end, or its client has gone.
    private func requireLife() throws {
        if isEnding.load(ordering: .relaxed) { throw BenchConversation.Fault.ended }
        let now = Clock.monotonicNanoseconds()
        let silence = Int64(bitPattern: now &- newestNanoseconds.load(ordering: .relaxed))
        if now >= deadline || silence > Int64(TestLimits.idleSecondsMax) * 1_000_000_000 {
            throw BenchConversation.Fault.timedOut
        }
    }

    /// Notes that the client lives.
    private func note() {
        newestNanoseconds.store(Clock.monotonicNanoseconds(), ordering: .relaxed)
    }

    private static func words(for error: any Error) -> String {
        switch error {
        case BenchConversation.Fault.timedOut: "its client is silent, or its time is over"
        case BenchConversation.Fault.unreadable: "its client sent what is no message"
        case BenchConversation.Fault.broken(let error): "\(error)"
        case let failure as Failure: failure.message
        default: "\(error)"
        }
    }

    // MARK: - Probes

    private func answer() {
        var buffer = [UInt8](repeating: 0, count: TestMessage.byteCount)
        var second: UInt64 = 0
        var count = 0
        guard let loop = try? EventLoop(capacity: 1),
            (try? loop.add(probes.fileDescriptor, token: 0, events: .readable)) != nil
        else { return }
        while !isEnding.load(ordering: .relaxed) {
            guard loop.wait(timeoutNanoseconds: Self.lookNanoseconds) > 0,
                let (byteCount, source) = probes.receive(into: &buffer)
            else { continue }
            let now = Clock.monotonicNanoseconds() / 1_000_000_000
            if now != second { (second, count) = (now, 0) }
            guard byteCount == TestMessage.byteCount, source.address == client,
                count < TestLimits.probesPerSecondMax,
                case .probe(token, _) = try? TestMessage(buffer)
            else { continue }
            count += 1
            note()
            probes.send(buffer, to: source)
        }
    }

    private static let lookNanoseconds: Int64 = 50_000_000
}
