public import LinuxNetworking
public import Logging
import Cryptography
import EgressScheduling
import PacketFormats
import SystemPackage
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// What tunnels share: the worker threads, the UDP port, and the thread that controls them all.
///
/// The thread that calls ``run()`` becomes the control thread. It alone owns configuration,
/// handshakes and timers, and tells the workers what changed. Steps of its loop, all serial:
/// 1. link changes and what the workers report;
/// 2. handshake messages from the control socket (`Engine+Handshakes.swift`), each to the tunnel
///    whose key it was made for;
/// 3. configuration requests of other processes (`Tunnel+Configuration.swift`,
///    `ControlConnection.swift`) and of this one (`TunnelControl.swift`, `EngineControl.swift`);
/// 4. timers that are due;
/// 5. the protocol's actions: messages to peers, commands to workers (`Tunnel+Actions.swift`).
///
/// An engine serves one tunnel, which then decides about the port, or any number that share a port
/// and come and go. Nothing of one tunnel is reached through another: each has its own keys, peers,
/// routes, device and budgets.
public final class Engine {
    /// What the operator can set at start.
    public struct Options: Sendable {
        /// Data-plane threads; at most ``EngineLimits/workersMax``.
        public var workers: Int
        /// UDP port of all tunnels; `nil` for a single tunnel, which chooses its port itself.
        public var sharedPort: UInt16?
        /// SO_MARK of everything that leaves through a shared port; 0 for none.
        public var firewallMark: UInt32 = 0
        /// Traffic class byte of handshake messages: DSCP in the upper six bits. The kernel's
        /// WireGuard uses AF41 (0x88).
        public var handshakeTrafficClass: UInt8 = 0x88
        /// Niceness of the workers: under a full processor, packets go before their producers.
        public var workerNiceness = -10
        /// Scheduler slice asked for, in nanoseconds (Linux 6.12 and later).
        public var workerSliceNanoseconds: UInt64 = 200_000
        /// Whether the outer header copies the inner ECN field, as the kernel's WireGuard does.
        /// Peers that ignore it would lose the path's marks.
        public var copiesECN = true
        /// Standing delay that a receive socket may have before bulk is slowed down. With a shared
        /// port more: a lane also waits while the worker serves others, which its own tenant can do
        /// nothing about. One flow beside 32 of another tenant got a third of its share at 300
        /// microseconds and nine tenths at a millisecond, with the gateway half idle.
        public var receiveTargetNanoseconds: UInt64 = 300_000
        /// How long it must have stood.
        public var receiveIntervalNanoseconds: UInt64 = 4_000_000
        /// Receive buffer of each data socket in bytes, as given to SO_RCVBUF.
        public var receiveBufferBytes = EngineLimits.receiveBufferBytes
        /// Lanes of sockets that another process has opened; `nil` for as many as there should be.
        var givenLaneCount: Int?

        public init(workers: Int, sharedPort: UInt16? = nil) {
            self.workers = min(max(workers, 1), EngineLimits.workersMax)
            self.sharedPort = sharedPort
            if sharedPort != nil { receiveTargetNanoseconds = 1_000_000 }
        }

        /// UDP sockets of a shared port: those of data, and one of handshakes.
        public var socketCount: Int { workers * laneCount + 1 }

        /// Sockets of each worker.
        var laneCount: Int {
            if let givenLaneCount { return givenLaneCount }
            return sharedPort == nil
                ? 1 : max(min(EngineLimits.lanesMax, EngineLimits.dataSocketsMax / workers), 1)
        }
    }

    /// Why ``run()`` returned.
    public enum End: Sendable {
        case stopped
        /// Of the only tunnel.
        case deviceRemoved
        /// Another process goes on with all of it.
        case handedOver
    }

    /// Steers the engine from other threads, from before ``run()`` on.
    public let control: EngineControl

    let options: Options
    let log: Logger
    let loop: EventLoop
    let inbox: ControlInbox
    let signals: SignalDescriptor
    let cipherSummary: String
    /// Local indices of all tunnels.
    let indices = LocalIndices()

    var tunnels: [TunnelID: Tunnel] = [:]
    /// Tunnels that have ended and that workers still know.
    var leavingTunnels: [TunnelID: LeavingTunnel] = [:]
    var workers: [WorkerLink] = []
    var threads: [WorkerThread] = []
    var pendingCommands: [[WorkerCommand]] = []
    var sockets: UDPSocketGroup?
    /// `nil` while the sockets are open or nothing is to be heard.
    var socketFault: SocketFault?
    /// As configured, or as chosen by the kernel.
    var listenPort: UInt16
    var firewallMark: UInt32
    var fallbacks: [String] = []
    /// That all that leaves keeps to; of the only tunnel, or of all that share the port.
    var link: QoSSettings.Link? {
        didSet {
            guard link != oldValue else { return }
            follower = link.flatMap { LinkRateFollower($0) }
            for tunnel in tunnels.values { tunnel.setPathPace() }
        }
    }
    /// `nil` where the line's rate is always the same.
    var follower: LinkRateFollower?
    /// Whose initiations are whose, and a guess by where they come from.
    var keys = MAC1Directory()
    var keyHints = TunnelHints(seed: SecureRandom.uint64())
    let handshakes = ReceiveBatch(
        messageCapacity: EngineLimits.handshakesPerPass, bytesPerMessage: EngineLimits.messageBytes)
    /// Places of `handshakes` whose messages wait for the next pass.
    var handshakesLeft = 0..<0
    var handshakeOutgoing = HandshakeOutbox()
    /// Of messages that belong to no tunnel.
    let handshakeDrops = CounterSet<DropReason>()
    /// Messages that sockets closed since had dropped because they were full.
    var closedSocketDrops: UInt64 = 0
    var underLoadUntil: UInt64 = 0
    /// When sleeping workers must hear of commands that wake nobody by themselves.
    var bellDeadline: UInt64?
    /// Until when handshake messages gather; `nil` while each is taken up at once.
    var handshakePauseEnd: UInt64?
    /// Data that arrived on the control socket and may be passed on.
    var strayBudget = TokenBucket(
        perSecond: EngineLimits.straysPerSecond, burst: EngineLimits.straysBurst)
    /// Lets another process go on in the place of this one; `nil` where nobody may.
    var handover: HandoverService?
    /// Grows with every change of what is handed over by descriptor.
    var handoverGeneration = 0
    var end: End?
    let startedAt = Clock.monotonicNanoseconds()

    /// - Parameter signals: ``run()`` returns after one of them.
    public init(signals: SignalDescriptor, options: Options, log: Logger) throws {
        self.signals = signals
        self.options = options
        self.log = log
        listenPort = options.sharedPort ?? 0
        firewallMark = options.firewallMark
        loop = try EventLoop()
        inbox = ControlInbox(bell: try EventDescriptor())
        control = try EngineControl()
        cipherSummary = PacketCipher().summary
        try loop.add(
            signals.fileDescriptor, token: EventSource.signals.token, events: .readable)
        try loop.add(
            inbox.bell.fileDescriptor, token: EventSource.inbox.token, events: .readable)
        try loop.add(
            control.bell.fileDescriptor, token: EventSource.control.token, events: .readable)
        try startWorkers()
    }

    deinit {
        // Nobody waits for an engine that never ran, and none of its threads goes on.
        control.end()
        for tunnel in tunnels.values {
            tunnel.control.end()
            tunnel.control.finish(tunnel.end ?? .stopped)
        }
        for link in workers { link.post([.stop]) }
    }

    /// Whether tunnels come and go, and none of them decides about the port.
    var isShared: Bool { options.sharedPort != nil }

    /// The tunnel that the engine is there for, if it serves but one.
    public var onlyTunnel: Tunnel? { isShared ? nil : tunnels.values.first }

    /// Serves the tunnels until it is stopped or, with a single one, until that has ended.
    public func run() -> End {
        updateSockets()
        while end == nil {
            wait()
            ringOwedBells()
            retrySockets()
            resumeHandshakes()
            expireHandover()
            followLinkByClock(now: Clock.monotonicNanoseconds())
            for tunnel in tunnels.values { tunnel.keepTime() }
            removeEnded()
        }
        shutDown()
        return end ?? .stopped
    }

    private func wait() {
        let now = Clock.monotonicNanoseconds()
        var deadline = [
            bellDeadline, handshakePauseEnd, socketFault?.retryAt, handoverDeadline,
            follower?.nextTimeout,
        ].compactMap { $0 }.min()
        for tunnel in tunnels.values {
            guard let next = tunnel.nextDeadline else { continue }
            deadline = min(deadline ?? next, next)
        }
        let timeout = deadline.map { $0 > now ? Int64(clamping: $0 - now) : 0 }
        let readyCount = loop.wait(timeoutNanoseconds: timeout)
        for index in 0..<readyCount {
            guard let source = EventSource(token: loop.token(at: index)) else { continue }
            switch source {
            case .signals: if signals.next() != nil { end = .stopped }
            case .inbox: readInbox()
            case .handshakes: receiveHandshakes()
            case .control: serveControl()
            case .handover: acceptHandover()
            case .handoverDialogue: continueHandover()
            case .ofTunnel(let number, let part): tunnels[number]?.serve(part)
            }
        }
    }

    private func startWorkers() throws {
        for index in 0..<options.workers {
            workers.append(WorkerLink(bell: try EventDescriptor()))
            pendingCommands.append([])
            threads.append(try startWorker(index))
        }
        for thread in threads { noteFallbacks(thread.schedulingFallbacks) }
    }

    func startWorker(_ index: Int) throws -> WorkerThread {
        let link = workers[index]
        let inbox = inbox
        let ecnMode: ECN.IngressMode = options.copiesECN ? .normal : .compatibility
        let controller = SojournController(
            targetNanoseconds: options.receiveTargetNanoseconds,
            intervalNanoseconds: options.receiveIntervalNanoseconds)
        let (loop, sources) = try Worker.makeLoop(link, isShared: isShared)
        let flowCapacity = EngineLimits.flowsKnown / options.workers
        return try WorkerThread.start(
            name: "worker-\(index)", niceness: options.workerNiceness,
            sliceNanoseconds: options.workerSliceNanoseconds, processor: index
        ) { placement in
            var worker = Worker(
                index: index, link: link, inbox: inbox, cipher: PacketCipher(),
                receiveQueue: controller, loop: loop, sources: sources, ecnMode: ecnMode,
                flowCapacity: flowCapacity)
            worker.work(at: placement)
        }
    }

    /// Says once what the kernel lacks; the words themselves name the offload, if it is one.
    func noteFallbacks(_ words: [String]) {
        let new = words.filter { !fallbacks.contains($0) }
        guard !new.isEmpty else { return }
        fallbacks += new
        log.notice("not as fast as it could be: \(new.joined(separator: "; "))")
    }

    private func shutDown() {
        if end == .handedOver { return letGo() }
        control.end()
        handover?.listener.close()
        for tunnel in tunnels.values { tunnel.control.end() }
        closeSockets()
        for link in workers { link.post([.stop]) }
        for thread in threads { thread.join() }
        for tunnel in tunnels.values {
            tunnel.finishReports()
            tunnel.close()
        }
        for leaving in leavingTunnels.values { leaving.tunnel.close() }
    }
}

/// Whom an event of the control thread's loop concerns, as the number that comes back with it.
enum EventSource: Equatable {
    case signals, inbox, handshakes, control, handover, handoverDialogue
    case ofTunnel(TunnelID, Part)

    /// What of a tunnel.
    enum Part: Equatable {
        case link, listener, control
        /// A client of the configuration socket.
        case connection(UInt32)
    }

    // The upper half is 0 or the tunnel's number and 1; the lower half says what.
    private static let parts: [Part] = [.link, .listener, .control]
    private static let own: [EventSource] = [
        .signals, .inbox, .handshakes, .control, .handover, .handoverDialogue,
    ]

    var token: UInt64 {
        guard case .ofTunnel(let tunnel, let part) = self else {
            return UInt64(Self.own.firstIndex(of: self) ?? 0)
        }
        let low: UInt64
        if case .connection(let number) = part {
            low = UInt64(number) + UInt64(Self.parts.count)
        } else {
            low = UInt64(Self.parts.firstIndex(of: part) ?? 0)
        }
        return (UInt64(tunnel) + 1) << 32 | low
    }

    init?(token: UInt64) {
        let (high, low) = (token >> 32, Int(token & 0xffff_ffff))
        guard high > 0 else {
            guard low < Self.own.count else { return nil }
            self = Self.own[low]
            return
        }
        let part = low < Self.parts.count
            ? Self.parts[low] : .connection(UInt32(low - Self.parts.count))
        self = .ofTunnel(TunnelID(high - 1), part)
    }
}

extension WallClock {
    /// The system's real-time clock.
    static var now: WallClock {
        let (seconds, nanoseconds) = Clock.wallClock()
        return WallClock(seconds: Int64(clamping: seconds), nanoseconds: nanoseconds)
    }
}
