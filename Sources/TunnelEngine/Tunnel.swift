public import LinuxNetworking
public import Logging
import Cryptography
import EgressScheduling
import PacketFormats
import SystemPackage
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// One tunnel interface: a TUN device, its peers, and the threads that serve them.
///
/// The thread that calls ``run()`` becomes the control thread. It alone owns configuration,
/// handshakes and timers, and tells the workers what changed. Steps of its loop, all serial:
/// 1. link changes and what the workers report;
/// 2. handshake messages from the control socket (`Tunnel+Handshakes.swift`);
/// 3. configuration requests (`Tunnel+Configuration.swift`, `ControlConnection.swift`);
/// 4. timers that are due;
/// 5. the protocol's actions: messages to peers, commands to workers (`Tunnel+Actions.swift`).
public final class Tunnel {
    /// What the operator can set at start.
    public struct Options: Sendable {
        /// Data-plane threads; at most ``EngineLimits/workersMax``.
        public var workers: Int
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
        /// Standing delay that the receive socket may have before bulk is slowed down.
        public var receiveTargetNanoseconds: UInt64 = 300_000
        /// How long it must have stood.
        public var receiveIntervalNanoseconds: UInt64 = 4_000_000
        /// Receive buffer of each data socket in bytes, as given to SO_RCVBUF.
        public var receiveBufferBytes = EngineLimits.receiveBufferBytes

        public init(workers: Int) {
            self.workers = min(max(workers, 1), EngineLimits.workersMax)
        }
    }

    /// Why ``run()`` returned.
    public enum End: Sendable {
        case stopped
        case deviceRemoved
    }

    let tun: TunDevice
    /// Gives each peer's packets to the worker that receives from it; `nil` with one worker, or
    /// where the kernel refuses.
    let steering: TunSteering?
    let options: Options
    let log: Logger
    let device: WireGuardDevice
    let loop: EventLoop
    let inbox: ControlInbox
    /// Tells of the interface's changes while it is in our namespace.
    var monitor: LinkMonitor?
    /// Of the interface in our namespace.
    let linkIndex: UInt32
    /// When an interface that was moved to another namespace is looked at again.
    var foreignLinkDeadline: UInt64?
    let listener: UnixSocketListener
    let signals: SignalDescriptor
    let cipherImplementation: PacketCipher.Implementation
    let cipherSummary: String

    var workers: [WorkerLink] = []
    var threads: [WorkerThread] = []
    var pendingCommands: [[WorkerCommand]] = []
    var sockets: UDPSocketGroup?
    /// `nil` while the sockets are open or the interface is down.
    var socketFault: SocketFault?
    var settings = InterfaceState()
    var peers: [PeerID: PeerState] = [:]
    var connections: [UInt64: ControlConnection] = [:]
    var nextConnectionToken: UInt64 = 1_000
    var fallbacks: [String] = []
    let handshakes = ReceiveBatch(
        messageCapacity: EngineLimits.handshakesPerPass, bytesPerMessage: EngineLimits.messageBytes)
    var handshakeOutgoing = HandshakeOutbox()
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
    var handshakeBudget = TokenBucket(
        perSecond: EngineLimits.handshakesPerSecond, burst: EngineLimits.handshakeBurst)
    var end: End?
    let startedAt = Clock.monotonicNanoseconds()

    static let signalToken: UInt64 = 0
    static let inboxToken: UInt64 = 1
    static let linkToken: UInt64 = 2
    static let listenerToken: UInt64 = 3
    static let handshakeToken: UInt64 = 4

    /// - Parameters:
    ///   - tun: The device; closed when the tunnel ends.
    ///   - listener: Configuration socket.
    ///   - signals: ``run()`` returns after one of them.
    public init(
        tun: TunDevice, listener: UnixSocketListener, signals: SignalDescriptor,
        options: Options, log: Logger
    ) throws {
        self.tun = tun
        self.listener = listener
        self.signals = signals
        var options = options
        options.workers = min(options.workers, tun.queues.count)
        self.options = options
        self.log = log
        device = WireGuardDevice(workerCount: options.workers)
        var refusal: Errno?
        if options.workers > 1 {
            do {
                steering = try TunSteering(tun, capacity: EngineLimits.steeredPrefixes)
            } catch {
                steering = nil
                refusal = error
            }
        } else {
            steering = nil
        }
        loop = try EventLoop()
        inbox = ControlInbox(bell: try EventDescriptor())
        let monitor = try LinkMonitor()
        self.monitor = monitor
        linkIndex = tun.interfaceIndex
        cipherImplementation = .fastest()
        cipherSummary = PacketCipher(cipherImplementation).summary
        try loop.add(signals.fileDescriptor, token: Self.signalToken, events: .readable)
        try loop.add(inbox.bell.fileDescriptor, token: Self.inboxToken, events: .readable)
        try loop.add(monitor.fileDescriptor, token: Self.linkToken, events: .readable)
        try loop.add(listener.fileDescriptor, token: Self.listenerToken, events: .readable)
        noteFallbacks(tun.fallbacks)
        if let refusal {
            noteFallbacks([
                "flows may change TUN queues, and packets their order: \(refusal) (needs CAP_BPF)"
            ])
        }
        lengthenQueue()
        try readLink()
        try startWorkers()
    }

    /// Serves the tunnel until it is stopped or its device is deleted.
    public func run() -> End {
        updateSockets()
        while end == nil {
            wait()
            expireConnections()
            ringOwedBells()
            retrySockets()
            resumeHandshakes()
            reviewForeignLink()
            if runsTimers {
                device.advance(now: Clock.monotonicNanoseconds(), wallClock: WallClock.now)
            }
            performActions()
        }
        shutDown()
        return end ?? .stopped
    }

    /// Without sockets nothing leaves, and no timer may count a message as sent.
    private var runsTimers: Bool { sockets != nil }

    private func wait() {
        let now = Clock.monotonicNanoseconds()
        var timeout: Int64?
        let deadlines = [
            runsTimers ? device.nextDeadline : nil, nextConnectionDeadline, bellDeadline,
            handshakePauseEnd, foreignLinkDeadline, socketFault?.retryAt,
        ]
        if let deadline = deadlines.compactMap({ $0 }).min() {
            timeout = deadline > now ? Int64(clamping: deadline - now) : 0
        }
        let readyCount = loop.wait(timeoutNanoseconds: timeout)
        for index in 0..<readyCount {
            let token = loop.token(at: index)
            switch token {
            case Self.signalToken: if signals.next() != nil { end = .stopped }
            case Self.inboxToken: readInbox()
            case Self.linkToken: readLinkChanges()
            case Self.listenerToken: acceptConnection()
            case Self.handshakeToken: receiveHandshakes()
            default: serve(connection: token)
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

    private func startWorker(_ index: Int) throws -> WorkerThread {
        let link = workers[index]
        let inbox = inbox
        let tun = tun
        let mtu = settings.mtu
        let implementation = cipherImplementation
        let ecnMode: ECN.IngressMode = options.copiesECN ? .normal : .compatibility
        let controller = SojournController(
            targetNanoseconds: options.receiveTargetNanoseconds,
            intervalNanoseconds: options.receiveIntervalNanoseconds)
        let loop = try Worker.makeLoop(link, tun.queues[index])
        return try WorkerThread.start(
            name: "worker-\(index)", niceness: options.workerNiceness,
            sliceNanoseconds: options.workerSliceNanoseconds, processor: index
        ) { placement in
            var worker = Worker(
                index: index, link: link, inbox: inbox, tun: tun.queues[index],
                offloads: tun.offloads, hasVirtioHeader: tun.hasVirtioHeader,
                cipher: PacketCipher(implementation), mtu: mtu,
                routes: RoutingTable(AllowedIPs()), receiveQueue: controller, loop: loop,
                ecnMode: ecnMode)
            worker.work(at: placement)
        }
    }

    /// Gives a device that was made here room for the time a worker is off the processor.
    private func lengthenQueue() {
        do {
            try tun.setTransmitQueueLength(
                EngineLimits.tunQueuePackets, through: try RoutingNetlink())
        } catch {
            noteFallbacks(["TUN queue length as it was: \(error)"])
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
        closeSockets()
        for link in workers { link.post([.stop]) }
        for thread in threads { thread.join() }
        for connection in connections.values { connection.close() }
        listener.close()
        tun.close()
    }
}

extension WallClock {
    /// The system's real-time clock.
    static var now: WallClock {
        let (seconds, nanoseconds) = Clock.wallClock()
        return WallClock(seconds: Int64(clamping: seconds), nanoseconds: nanoseconds)
    }
}

/// What configuration and the kernel say of the interface.
struct InterfaceState {
    var listenPort: UInt16 = 0
    var firewallMark: UInt32 = 0
    var mtu = 1_420
    var isUp = false
    var allowedIPs = AllowedIPs()
    /// Allowed IPs changed since the workers were told.
    var routesChanged = false
    /// Peers that the workers still have to forget, after the routes that named them.
    var removedPeers: [PeerID] = []
}

/// What the control thread keeps of a peer beside the protocol's own state.
struct PeerState {
    var publicKey: PublicKey
    var endpoint: Endpoint?
    /// The address of ours that the peer last used.
    var localAddress: LocalAddress?
    /// Sessions that workers know: the current one, the one before, the one to come.
    var sessions: [Session] = []
    /// Of sessions that are over.
    var receivedPackets: UInt64 = 0
    var lostPackets: UInt64 = 0
    /// Local index of the session that the log last told of.
    var establishedIndex: UInt32?

    /// Tells peers apart in the log: the start of the public key, as `branchline show` has it.
    var name: String { String(publicKey.base64.prefix(10)) }
}
