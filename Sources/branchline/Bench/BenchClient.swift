import Glibc
import LinuxNetworking
import PacketFormats
import PathBenchmark
import SystemPackage

/// The measuring side of a test.
///
/// 1. Connect and greet: token and limits come back, or why there is no test.
/// 2. Round trips alone.
/// 3. Up, then down: ask for the part, connect its streams once they are expected, and as the
///    server says that it has begun, pump bytes and probe, in parallel, until its result is here.
struct BenchClient {
    let target: BenchTarget
    let port: UInt16
    let seconds: Int
    let streamCount: Int
    private let line = LiveLine()

    init(target: BenchTarget, port: UInt16, seconds: Int, streamCount: Int) {
        self.target = target
        self.port = port
        self.seconds = seconds
        self.streamCount = streamCount
    }

    func emptyReport() -> BenchReport {
        BenchReport(
            host: target.host, address: target.address.description, port: port,
            interface: target.interface, streamCount: streamCount, partSeconds: seconds)
    }

    /// - Parameter report: Gets what is measured, also where that ends with a failure.
    func measure(_ parts: [BenchPart], into report: inout BenchReport) throws {
        defer { line.clear() }
        do {
            let test = try begin()
            defer { test.conversation.socket.close() }
            // What uses the tunnel is known once it is used.
            report.session = BenchReport.Session(target)
            for part in parts {
                switch part {
                case .latency: try measureIdle(test, &report)
                case .up: try measure(.up, test, &report.up)
                case .down: try measure(.down, test, &report.down)
                }
            }
        } catch let fault as BenchConversation.Fault {
            throw failure(fault)
        }
    }

    // MARK: - Beginning

    private struct Test {
        let conversation: BenchConversation
        let token: TestToken
        let local: IPAddress
    }

    private func begin() throws -> Test {
        line.show("connecting to \(endpoint)")
        let socket = try connect()
        let conversation = BenchConversation(socket: socket)
        do {
            try conversation.send(.greeting)
            let answer = try receive(conversation, seconds: TestLimits.answerSecondsMax)
            guard case .welcome(let token, let offer) = answer else { throw failure(answer) }
            guard UInt32(seconds * 1000) <= offer.millisecondsMax,
                streamCount <= Int(offer.streamsMax)
            else {
                throw Failure(
                    kind: .refused,
                    message: "\(target.host) allows \(offer.streamsMax) streams and "
                        + "\(offer.millisecondsMax / 1000) s a part")
            }
            guard let local = socket.localEndpoint?.address else {
                throw BenchConversation.Fault.ended
            }
            return Test(conversation: conversation, token: token, local: local)
        } catch {
            socket.close()
            throw error
        }
    }

    private func connect() throws -> StreamSocket {
        let deadline = Clock.after(seconds: TestLimits.answerSecondsMax)
        do throws(Errno) {
            let socket = try StreamSocket.connecting(to: endpoint, device: target.interface)
            while true {
                do {
                    try socket.awaitConnection(until: Clock.after(milliseconds: 100))
                    return socket
                } catch {
                    guard error == .timedOut, Clock.monotonicNanoseconds() < deadline else {
                        throw error
                    }
                }
                if Self.isInterrupted { throw .canceled }
            }
        } catch {
            throw failure(connecting: error)
        }
    }

    // MARK: - Parts

    private func measureIdle(_ test: Test, _ report: inout BenchReport) throws {
        let began = Clock.monotonicNanoseconds()
        let end = began + UInt64(seconds) * 1_000_000_000
        let prober = try startProber(test)
        var fault: (any Error)?
        do {
            // The server says nothing meanwhile, unless it ends the test.
            let message = try test.conversation.receive(until: end) {
                try Self.checkInterruption()
                line.show("latency", since: began, of: seconds)
            }
            fault = failure(message)
        } catch BenchConversation.Fault.timedOut {
        } catch {
            fault = error
        }
        let measured = Clock.monotonicNanoseconds() - began
        report.idle = BenchReport.Part(
            measuredSeconds: Double(measured) / 1e9,
            roundTrip: prober.finish(atOnce: fault != nil))
        if let fault { throw fault }
        if report.idle?.roundTrip?.p50Seconds == nil {
            Console.error(
                "note: no probe came back: is UDP port \(port) allowed to \(target.host) and back?")
        }
    }

    private func measure(
        _ direction: TestMessage.Direction, _ test: Test, _ part: inout BenchReport.Part?
    ) throws {
        let milliseconds = UInt32(seconds * 1000)
        try test.conversation.send(
            .request(
                direction, streamCount: UInt16(clamping: streamCount), milliseconds: milliseconds))
        let readiness = try receive(
            test.conversation, seconds: TestLimits.answerSecondsMax)
        guard case .ready = readiness else { throw failure(readiness) }
        var streams: [StreamSocket] = []
        let pump: StreamPump
        do {
            for _ in 0..<streamCount {
                let stream = try connect()
                streams.append(stream)
                try BenchConversation(socket: stream).send(.stream(test.token))
            }
            let answer = try receive(
                test.conversation, seconds: TestLimits.answerSecondsMax * 2)
            guard case .started = answer else { throw failure(answer) }
            pump = try StreamPump.start(
                streams, direction == .up ? .send : .receive, milliseconds: milliseconds)
        } catch {
            for stream in streams { stream.close() }
            throw error
        }
        let prober: Prober
        do {
            prober = try startProber(test)
        } catch {
            _ = pump.finish()
            throw error
        }
        var transfer = TestMessage.Transfer(byteCount: 0, nanoseconds: 0, retransmissions: 0)
        var fault: (any Error)?
        do {
            try follow(direction, test, pump, &transfer)
        } catch {
            fault = error
        }
        let here = pump.finish()
        // The receiver counts; who sends knows what it sent again.
        switch direction {
        case .up: transfer.retransmissions = here.retransmissions
        case .down:
            transfer.byteCount = here.byteCount
            transfer.nanoseconds = here.nanoseconds
        }
        part = BenchReport.Part(transfer, prober.finish(atOnce: fault != nil))
        if let fault { throw fault }
    }

    /// Waits for the server's result, and keeps what it says until then.
    private func follow(
        _ direction: TestMessage.Direction, _ test: Test, _ pump: StreamPump,
        _ transfer: inout TestMessage.Transfer
    ) throws {
        let began = Clock.monotonicNanoseconds()
        let deadline = Clock.after(seconds: seconds + TestLimits.resultSecondsMax)
        while true {
            let newest = transfer
            let message = try test.conversation.receive(until: deadline) {
                try Self.checkInterruption()
                let shown = direction == .up ? newest : pump.transfer
                line.show(direction == .up ? "up" : "down", since: began, of: seconds, shown)
            }
            switch message {
            case .progress(let progress): transfer = progress
            case .result(let result):
                transfer = result
                return
            default: throw failure(message)
            }
        }
    }

    private func startProber(_ test: Test) throws -> Prober {
        try Prober.start(
            from: test.local, to: endpoint, device: target.interface, token: test.token,
            milliseconds: UInt32(seconds * 1000))
    }

    // MARK: - Words

    private var endpoint: Endpoint { Endpoint(address: target.address, port: port) }

    private func receive(
        _ conversation: BenchConversation, seconds: Int
    ) throws -> TestMessage {
        try conversation.receive(until: Clock.after(seconds: seconds), look: Self.checkInterruption)
    }

    private static var isInterrupted: Bool { (try? Interruption.check()) == nil }

    private static func checkInterruption() throws {
        if isInterrupted { throw interrupted }
    }

    private static let interrupted = Failure(kind: .interrupted, message: "interrupted")

    private func failure(connecting error: Errno) -> Failure {
        switch error {
        case .canceled: Self.interrupted
        case .connectionRefused:
            Failure(
                kind: .refused,
                message: "\(target.host) runs no test server on port \(port); start one with "
                    + "`sudo branchline bench --serve` there")
        case .timedOut, .noRouteToHost, .networkUnreachable:
            Failure(
                kind: .unreachable,
                message: "\(endpoint) does not answer by \(target.interface) (\(error)): is the "
                    + "tunnel up at both ends, and do access rules and packet filters let TCP and "
                    + "UDP port \(port) through? See `sudo branchline status \(target.interface)`")
        case .permissionDenied, .notPermitted:
            Failure.failed("may not use \(target.interface) (\(error)); run with sudo")
        default:
            Failure.failed("cannot connect to \(endpoint) by \(target.interface): \(error)")
        }
    }

    private func failure(_ fault: BenchConversation.Fault) -> Failure {
        switch fault {
        case .ended, .broken(.connectionReset), .broken(.brokenPipe):
            Failure.failed(
                "\(target.host) ended the test: its time is over, its tunnel or its server has "
                    + "ended, or it is no `branchline bench --serve`")
        case .timedOut:
            Failure(
                kind: .unreachable,
                message: "\(target.host) has stopped to answer in the middle of a test")
        case .broken(let error): Failure.failed("lost \(target.host): \(error)")
        case .unreadable(.version(let version)): otherVersion(version)
        case .unreadable(.foreign), .unreadable(.malformed):
            Failure(
                kind: .protocolMismatch,
                message: "what answers at \(endpoint) is no `branchline bench --serve`; choose "
                    + "its port with --port")
        }
    }

    /// Of a message that is not the one that is due.
    private func failure(_ message: TestMessage) -> Failure {
        guard case .refusal(let refusal) = message else {
            return failure(.unreadable(.malformed))
        }
        switch refusal {
        case .busy:
            return Failure(
                kind: .busy, message: "\(target.host) is busy with another test; try again later")
        case .beyondLimits:
            return Failure(
                kind: .refused, message: "\(target.host) does not allow so many streams or seconds")
        case .streamsMissing:
            return Failure(
                kind: .unreachable,
                message: "not all of the \(streamCount) streams have come to \(target.host)")
        case .unavailable:
            return Failure.failed(
                "\(target.host) cannot serve a test now: its own messages say why")
        case .version: return otherVersion(TestMessage.version)
        }
    }

    private func otherVersion(_ version: UInt8) -> Failure {
        Failure(
            kind: .protocolMismatch,
            message: "\(target.host) speaks version \(version) of the test, and this program "
                + "\(TestMessage.version); upgrade the older one")
    }
}
