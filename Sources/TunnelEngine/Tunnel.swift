import AccessControl
public import LinuxNetworking
import Cryptography
public import EgressScheduling
import Logging
import PacketFormats
import SystemPackage
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// What a tunnel is made of.
public struct TunnelSetup: Sendable {
    /// Tells the tunnel apart in logs and metrics.
    public var name: String
    /// Closed when the tunnel ends.
    public var tun: TunDevice
    /// Configuration socket; closed when the tunnel ends.
    public var listener: UnixSocketListener
    public var limits: TenantLimits

    public init(
        name: String, tun: TunDevice, listener: UnixSocketListener,
        limits: TenantLimits = TenantLimits()
    ) {
        self.limits = limits
        self.name = name
        self.tun = tun
        self.listener = listener
    }
}

/// One tunnel interface: a TUN device, its keys and its peers; on a gateway, one tenant's.
///
/// It belongs to the control thread of its ``Engine``.
public final class Tunnel {
    /// Why a tunnel ended.
    public enum End: Sendable {
        case stopped
        case deviceRemoved
    }

    /// Steers the tunnel from other threads.
    public let control: TunnelControl
    public let name: String

    /// Name of the interface as it was opened.
    public var interface: String { tun.name }

    let number: TunnelID
    unowned let engine: Engine
    let tun: TunDevice
    /// Gives each peer's packets to the worker that receives from it; `nil` with one worker, or
    /// where the kernel refuses.
    let steering: TunSteering?
    let device: WireGuardDevice
    let log: Logger
    /// Tells of the interface's changes while it is in our namespace.
    var monitor: LinkMonitor?
    /// Of the interface in its namespace.
    let linkIndex: UInt32
    /// When an interface in another namespace is looked at again.
    var foreignLinkDeadline: UInt64?
    let listener: UnixSocketListener
    /// One for each worker.
    let counters: [WorkerCounters]
    let handshakeDrops = CounterSet<DropReason>()

    var settings = InterfaceState()
    var limits = TunnelLimits(TenantLimits())
    /// What may pass; `nil` where everything may.
    var access: AccessFilter?
    /// When connections that are over are forgotten next.
    var accessReviewDeadline: UInt64 = 0
    var qos = QoSSettings()
    /// Shared by the workers; `nil` without one.
    var budget: TenantBudget?
    /// Whether all packets are to leave by the first worker.
    var sharesOneWorker = false
    /// Questions to the workers, by number.
    var pendingReports: [UInt32: PendingReport] = [:]
    var nextReport: UInt32 = 0
    /// What is handed to whoever asked instead of the interface.
    var probeMarks: ProbeMarks?
    /// Handshakes that are worked on; `nil` without a limit.
    var handshakeLimit: TokenBucket?
    var peers: [PeerID: PeerState] = [:]
    var connections: [UInt32: ControlConnection] = [:]
    var nextConnection: UInt32 = 0
    /// Until when initiations must carry a cookie of this tunnel.
    var underLoadUntil: UInt64 = 0
    var handshakeBudget = TokenBucket(
        perSecond: EngineLimits.handshakesPerSecond, burst: EngineLimits.handshakeBurst)
    var end: End?
    /// Requests of other threads wait; see ``serveControl()``.
    var hasMoreRequests = false

    var loop: EventLoop { engine.loop }

    /// - Parameter isRunningElsewhere: Whether another process serves the device until its state is
    ///   restored here: nothing about it may change before.
    init(
        _ setup: TunnelSetup, number: TunnelID, lane: Int, engine: Engine,
        isRunningElsewhere: Bool = false
    ) throws {
        name = setup.name
        tun = setup.tun
        listener = setup.listener
        self.number = number
        self.engine = engine
        var log = engine.log
        if engine.isShared { log[metadataKey: "tenant"] = "\(setup.name)" }
        self.log = log
        device = WireGuardDevice(
            tunnel: number,
            placement: ReceivePlacement(
                workerCount: engine.options.workers, laneCount: engine.options.laneCount,
                lane: lane),
            indices: engine.indices)
        var refusal: Errno?
        if engine.options.workers > 1 {
            do {
                let table = try TunSteering(capacity: EngineLimits.steeredPrefixes)
                if !isRunningElsewhere { try table.attach(to: tun) }
                steering = table
            } catch {
                steering = nil
                refusal = error
            }
        } else {
            steering = nil
        }
        control = try TunnelControl()
        linkIndex = tun.interfaceIndex
        counters = engine.workers.map { _ in WorkerCounters() }
        try loop.add(listener.fileDescriptor, token: token(.listener), events: .readable)
        try loop.add(control.bell.fileDescriptor, token: token(.control), events: .readable)
        if tun.isInOurNamespace {
            let monitor = try LinkMonitor()
            self.monitor = monitor
            try loop.add(monitor.fileDescriptor, token: token(.link), events: .readable)
        } else {
            foreignLinkDeadline = Clock.monotonicNanoseconds()
        }
        engine.noteFallbacks(tun.fallbacks)
        if let refusal {
            engine.noteFallbacks([
                "flows may change TUN queues, and packets their order: \(refusal) (needs CAP_BPF)"
            ])
        }
        use(setup.limits)
        setPathPace()
        sharesOneWorker = engine.link != nil
        lengthenQueue()
        try readLink()
    }

    /// Takes up limits; workers are told by others.
    func use(_ limits: TenantLimits) {
        self.limits = TunnelLimits(limits)
        handshakeLimit = limits.handshakesPerSecond.map {
            TokenBucket(perSecond: Double($0), burst: max(Double($0), 1))
        }
    }

    func token(_ part: EventSource.Part) -> UInt64 {
        EventSource.ofTunnel(number, part).token
    }

    func serve(_ part: EventSource.Part) {
        switch part {
        case .link: readLinkChanges()
        case .listener: acceptConnection()
        case .control: serveControl()
        case .connection(let number): serve(connection: number)
        }
    }

    /// Without sockets nothing leaves, and no timer may count a message as sent.
    private var runsTimers: Bool { engine.sockets != nil && settings.isUp }

    /// Does what is due.
    func keepTime() {
        expireConnections()
        reviewForeignLink()
        reviewAccess()
        if hasMoreRequests { serveControl() }
        if runsTimers, let deadline = device.nextDeadline {
            let now = Clock.monotonicNanoseconds()
            if deadline <= now { device.advance(now: now, wallClock: WallClock.now) }
        }
        performActions()
    }

    var nextDeadline: UInt64? {
        if hasMoreRequests { return 0 }
        return [
            runsTimers ? device.nextDeadline : nil, nextConnectionDeadline, foreignLinkDeadline,
            access == nil ? nil : accessReviewDeadline,
        ].compactMap { $0 }.min()
    }

    private func reviewAccess() {
        guard let access else { return }
        let now = Clock.monotonicNanoseconds()
        guard accessReviewDeadline <= now else { return }
        accessReviewDeadline = now + EngineLimits.accessReviewNanoseconds
        access.state.forgetEnded(now: now)
    }

    /// Gives a device that was made here room for the time a worker is off the processor.
    private func lengthenQueue() {
        do {
            try tun.inItsNamespace {
                try tun.setTransmitQueueLength(
                    EngineLimits.tunQueuePackets, through: try RoutingNetlink())
            }
        } catch {
            engine.noteFallbacks(["TUN queue length as it was: \(error)"])
        }
    }

    /// Ends what other processes see of it. No worker knows it any more.
    func close() {
        for connection in connections.values { connection.close() }
        connections = [:]
        listener.close()
        monitor = nil
        tun.close()
        control.finish(end ?? .stopped)
    }
}

/// What configuration and the kernel say of the interface.
struct InterfaceState {
    var mtu = 1_420
    var isUp = false
    var allowedIPs = AllowedIPs()
    /// Of peers that share prefixes.
    var preferences: [PeerID: PeerPreference] = [:]
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
    /// The log told that its path carries less than the interface's MTU.
    var isPathNarrow = false

    /// Tells peers apart in the log: the start of the public key, as `branchline show` has it.
    var name: String { String(publicKey.base64.prefix(10)) }
}
