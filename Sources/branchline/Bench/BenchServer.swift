import LinuxNetworking
import PacketFormats
import PathBenchmark
import SystemPackage

/// The side of a test that is measured against: listens by one interface, for a while, and serves
/// one test at a time.
final class BenchServer {
    /// What came of it.
    struct Tally {
        var tests = 0
        var turnedAway = 0
        var strangers = 0
        var reason = ""

        var text: String {
            "\(reason): \(tests) test\(tests == 1 ? "" : "s"), \(turnedAway) turned away as busy, "
                + "\(strangers) connection\(strangers == 1 ? "" : "s") that spoke no test\n"
        }
    }

    private let interface: String
    private let port: UInt16
    private let seconds: Int64
    private let bitsPerSecondMax: Int64?
    private var greetings: [UInt64: Greeting] = [:]
    private var newestToken: UInt64 = listenerToken
    private var test: ServedTest?
    private var tally = Tally()

    /// A connection that has not said yet what it is.
    private struct Greeting {
        let socket: StreamSocket
        let deadline: UInt64
        var bytes: [UInt8] = []
    }

    /// - Parameter bitsPerSecondMax: Of a test, each way; `nil` for no limit.
    init(interface: String, port: UInt16, seconds: Int64, bitsPerSecondMax: Int64?) {
        self.interface = interface
        self.port = port
        self.seconds = seconds
        self.bitsPerSecondMax = bitsPerSecondMax
    }

    /// Serves until the time is over or a signal comes.
    ///
    /// - Throws: If it cannot listen, or the interface has gone.
    func run() throws -> Tally {
        let index = interfaceIndex(interface)
        let listener = try listen()
        defer { listener.close() }
        let loop = try EventLoop(capacity: Self.eventsMax)
        try loop.add(listener.fileDescriptor, token: Self.listenerToken, events: .readable)
        announce()
        defer { endTest() }
        let end = Clock.after(seconds: Int(seconds))
        var nextLook: UInt64 = 0
        while true {
            do {
                try Interruption.check()
            } catch {
                tally.reason = "ended by a signal"
                return tally
            }
            let now = Clock.monotonicNanoseconds()
            if now >= end {
                tally.reason = "its time is over"
                return tally
            }
            if now >= nextLook {
                guard let index, interfaceIndex(interface) == index else {
                    throw Failure.failed("\(interface) has gone")
                }
                nextLook = now + Self.lookNanoseconds
            }
            if test?.isOver == true { endTest() }
            for (token, greeting) in greetings where greeting.deadline <= now {
                drop(token, from: loop)
            }
            let left = min(end - now, Self.waitNanoseconds)
            for event in 0..<loop.wait(timeoutNanoseconds: Int64(left)) {
                let token = loop.token(at: event)
                if token == Self.listenerToken {
                    accept(listener, loop)
                } else {
                    read(token, loop)
                }
            }
        }
    }

    private func listen() throws -> StreamListener {
        do {
            return try StreamListener(
                port: port, device: interface, backlog: TestLimits.greetingsMax)
        } catch {
            switch error {
            case .addressInUse:
                throw Failure.failed(
                    "another program has TCP port \(port), perhaps another `branchline bench "
                        + "--serve`; end it, or choose another with --port")
            case .permissionDenied, .notPermitted:
                throw Failure.failed(
                    "may not listen by \(interface) (\(error)); run with sudo, or with CAP_NET_RAW")
            default: throw Failure.failed("cannot listen by \(interface): \(error)")
            }
        }
    }

    private func announce() {
        let index = interfaceIndex(interface)
        let addresses = index.flatMap { try? RoutingNetlink().addresses(of: $0) } ?? []
        let inner = addresses.map(\.address).filter { !$0.isLinkLocal }.map(\.description)
        let places = inner.isEmpty ? "no address yet" : inner.joined(separator: ", ")
        Console.error(
            "tests are served by \(interface) alone (\(places)), TCP and UDP port \(port), for "
                + "\(Text.shortDuration(seconds: UInt64(seconds))); Ctrl-C ends it. On the other "
                + "node: branchline bench \(inner.first ?? "ADDRESS")"
                + (port == BenchCommand.standardPort ? "" : " --port \(port)"))
    }

    // MARK: - Connections

    private func accept(_ listener: StreamListener, _ loop: EventLoop) {
        for _ in 0..<TestLimits.greetingsMax {
            guard let socket = listener.accept() else { return }
            // Who says at once what it wants is not kept out by those who say nothing.
            if greetings.count >= TestLimits.greetingsMax, let oldest = greetings.keys.min() {
                drop(oldest, from: loop)
            }
            newestToken += 1
            do {
                try loop.add(socket.fileDescriptor, token: newestToken, events: .readable)
                greetings[newestToken] = Greeting(
                    socket: socket, deadline: Clock.after(seconds: TestLimits.answerSecondsMax))
            } catch {
                socket.close()
            }
        }
    }

    private func drop(_ token: UInt64, from loop: EventLoop) {
        guard let greeting = greetings.removeValue(forKey: token) else { return }
        try? loop.remove(greeting.socket.fileDescriptor)
        greeting.socket.close()
        tally.strangers += 1
    }

    private func read(_ token: UInt64, _ loop: EventLoop) {
        guard var greeting = greetings[token] else { return }
        var buffer = [UInt8](repeating: 0, count: TestMessage.byteCount)
        let count = greeting.socket.receive(
            into: &buffer, upTo: TestMessage.byteCount - greeting.bytes.count)
        if count == -Int(Errno.wouldBlock.rawValue) { return }
        guard count > 0 else { return drop(token, from: loop) }
        greeting.bytes += buffer[..<count]
        greetings[token] = greeting
        guard greeting.bytes.count == TestMessage.byteCount else { return }
        do {
            let message = try TestMessage(greeting.bytes)
            guard try take(message, greeting.socket) else { return drop(token, from: loop) }
            greetings[token] = nil
            try? loop.remove(greeting.socket.fileDescriptor)
        } catch TestMessageFault.version {
            refuse(greeting.socket, .version)
            drop(token, from: loop)
        } catch {
            drop(token, from: loop)
        }
    }

    /// - Returns: Whether the connection is somebody's now, or has been answered for good.
    private func take(_ message: TestMessage, _ socket: StreamSocket) throws -> Bool {
        switch message {
        case .greeting:
            if test?.isOver == true { endTest() }
            guard test == nil else {
                tally.turnedAway += 1
                refuse(socket, .busy)
                // Closed with its last reference, once the loop has let go of it.
                return true
            }
            guard
                let new = ServedTest.start(
                    socket, interface: interface, port: port, bitsPerSecondMax: bitsPerSecondMax)
            else {
                refuse(socket, .unavailable)
                return true
            }
            test = new
            tally.tests += 1
            return true
        case .stream(let token): return test?.take(socket, token) ?? false
        default: return false
        }
    }

    private func refuse(_ socket: StreamSocket, _ refusal: TestMessage.Refusal) {
        // 64 bytes always fit into a socket's empty buffer.
        try? socket.sendAll(TestMessage.refusal(refusal).bytes, until: 0)
    }

    private func endTest() {
        test?.end()
        test = nil
    }

    private static let listenerToken: UInt64 = 0
    private static let eventsMax = 16
    private static let waitNanoseconds: UInt64 = 50_000_000
    private static let lookNanoseconds: UInt64 = 1_000_000_000
}
