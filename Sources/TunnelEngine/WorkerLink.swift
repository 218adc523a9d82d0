import AccessControl
import EgressScheduling
import LinuxNetworking
import PacketFormats
import Synchronization
public import Telemetry
public import WireGuardProtocol

/// What the control thread tells a worker. Applied in order.
enum WorkerCommand: Sendable {
    /// Serve a tunnel from now on; its number is free.
    case addTunnel(TunnelPort)
    /// Forget a tunnel with its frames, peers and sessions. The worker says when it has.
    case removeTunnel(TunnelID)
    /// Concerns one tunnel; ignored once that is removed.
    case tunnel(TunnelID, TunnelCommand)
    /// Use these sockets, one for each lane; none while there is no port.
    case useSockets([UDPSocket])
    /// Datagrams that the kernel takes in one UDP_SEGMENT send.
    case setDatagramsPerSend(Int)
    /// Let all that leaves keep to a line; `nil` where there is none.
    case setLink(WorkerLine?)
    /// Take a datagram of transport data that arrived on the control socket.
    case receive([UInt8])
    /// Take in nothing new, send and deliver what is here, and end the thread.
    case finish
    /// End the thread.
    case stop

    /// Whether a sleeping worker must wake for it. The others take effect in time by themselves: a
    /// worker applies what was posted before it looks at any frame or datagram.
    var isUrgent: Bool {
        switch self {
        case .addTunnel, .removeTunnel, .useSockets, .receive, .finish, .stop: true
        case .tunnel(_, let command): command.isUrgent
        case .setDatagramsPerSend, .setLink: false
        }
    }
}

/// What the control thread tells a worker of one tunnel.
enum TunnelCommand: Sendable {
    /// Use these allowed IPs from now on.
    case route(RoutingTable)
    /// A peer exists; the worker reports its traffic to `activity`.
    case addPeer(PeerID, PeerActivity)
    /// Forget the peer, its staged frames and its sessions' sending side.
    case removePeer(PeerID)
    /// Send to this place; `nil` while the peer has no endpoint.
    case setDestination(PeerID, Destination?)
    /// Accept datagrams for the session.
    case install(Session)
    /// Encrypt with this session from now on; `nil` when the peer has none.
    case send(PeerID, with: Session?)
    /// Accept no more datagrams for the session.
    case retire(Session)
    /// Send what waited for a session. With `confirming`, send a keepalive if nothing waited.
    case sendStaged(PeerID, confirming: Bool)
    /// Drop what waited for a session.
    case discardStaged(PeerID)
    /// The TUN device's MTU in bytes: padding stops there.
    case setMTU(Int)
    /// Whether the interface is up: while it is not, nothing leaves.
    case setUp(Bool)
    case setLimits(TunnelLimits)
    /// Let through only what it allows; everything without one.
    case setAccess(AccessFilter?)
    /// Hand packets like these to the control thread, once they are accepted as all others.
    case watchAnswers(ProbeMarks?)
    /// Send a packet of our own to the peer, whoever else has its destination.
    case inject(PeerID, [UInt8])
    /// Send a probe of the path at once, or not at all.
    case probe(PeerID, PathProbe)
    /// Send the peer no packet that is longer.
    case limitPackets(PeerID, byteCount: Int)
    /// Class, order and mark frames by these settings; this worker's own instance.
    case setQoS(WorkerQoS)
    case setPeerQoS(PeerID, PeerQoS)
    /// Answer a question of that number.
    case report(UInt32, ReportRequest)

    var isUrgent: Bool {
        switch self {
        case .sendStaged, .discardStaged, .setUp, .inject, .probe, .report: true
        case .route, .addPeer, .removePeer, .setDestination, .install, .send, .retire, .setMTU,
            .setLimits, .setAccess, .watchAnswers, .limitPackets, .setQoS, .setPeerQoS:
            false
        }
    }
}

/// What a worker tells the control thread.
enum WorkerEvent: Sendable {
    /// A timer must be armed or a handshake started for the peer.
    case attention(TunnelID, PeerID)
    /// The first authenticated datagram under a session that this side answered.
    case confirmed(Session)
    /// An authenticated datagram came from a new place.
    case roamed(TunnelID, PeerID, Endpoint, LocalAddress?)
    /// A handshake message that arrived on a data socket, inside a run that the kernel coalesced.
    case handshakeMessage([UInt8], Endpoint, LocalAddress?)
    /// What may be an answer to an injected packet, and when it came.
    case answer(TunnelID, PeerID, [UInt8], UInt64)
    /// A peer's answer to a probe of the path, and when it came, in microseconds of the clock that
    /// probes are stamped by.
    case pathAnswer(TunnelID, PeerID, PathAnswer, UInt64)
    /// A probe of the path did not leave.
    case probeSkipped(TunnelID, PeerID, PathProbe)
    /// An address of ours that datagrams left from is gone.
    case sourceRefused
    /// The TUN device was deleted.
    case deviceGone(TunnelID)
    /// A worker holds nothing of the tunnel any more.
    case tunnelForgotten(TunnelID)
    /// One worker's part of the answer to a question of that number.
    case report(TunnelID, UInt32, WorkerReport)

    /// Whether somebody else decides how often it comes; the next one makes up for a lost one.
    var isBounded: Bool {
        switch self {
        case .handshakeMessage, .roamed, .answer, .pathAnswer, .probeSkipped, .sourceRefused:
            true
        case .attention, .confirmed, .deviceGone, .tunnelForgotten, .report: false
        }
    }
}

extension DropReason: CounterKey {}

/// What a tunnel may use, with the meters that all workers share.
struct TunnelLimits: Sendable {
    let limits: TenantLimits
    /// Of frames that leave.
    let outward: TenantMeters
    /// Of packets that arrive.
    let inward: TenantMeters

    init(_ limits: TenantLimits) {
        self.limits = limits
        outward = TenantMeters(limits)
        inward = TenantMeters(limits, burst: .policing)
    }
}

/// What one worker counts, of one tunnel or of what belongs to none.
final class WorkerCounters: Sendable {
    let events = CounterSet<EngineCounter>()
    let drops = CounterSet<DropReason>()
    /// Of a tunnel's frames that leave.
    let classes = ClassCounters()
}

/// The control thread's end of one worker: a mailbox, a bell, and counters of what belongs to no
/// tunnel.
final class WorkerLink: Sendable {
    let counters = WorkerCounters()
    let bell: EventDescriptor
    private let commands = Mutex<[WorkerCommand]>([])
    private let posted = Atomic<UInt64>(0)
    private let sentToLine = Atomic<UInt64>(0)

    init(bell: EventDescriptor) {
        self.bell = bell
    }

    /// Bytes on the line that this worker has sent, overhead included, as it said last.
    var wireBytesSent: UInt64 { sentToLine.load(ordering: .relaxed) }

    @inline(__always)
    func noteSent(wireBytes: UInt64) { sentToLine.store(wireBytes, ordering: .relaxed) }

    /// Puts commands into the mailbox. They take effect before the worker looks at any datagram
    /// that the kernel delivers after this call returned.
    func post(_ batch: [WorkerCommand]) {
        guard !batch.isEmpty else { return }
        commands.withLock { $0.append(contentsOf: batch) }
        posted.add(1, ordering: .releasing)
        if batch.contains(where: \.isUrgent) { bell.signal() }
    }

    /// Number of batches posted so far: a worker compares it to what it has applied.
    @inline(__always)
    var postedCount: UInt64 { posted.load(ordering: .acquiring) }

    func takeCommands() -> [WorkerCommand] {
        commands.withLock { waiting in
            let taken = waiting
            waiting = []
            return taken
        }
    }
}

/// The workers' way to the control thread.
final class ControlInbox: Sendable {
    let bell: EventDescriptor
    private let waiting = Mutex<[WorkerEvent]>([])

    /// Handshake messages, moves and answers that may wait: whoever can send a datagram, or moves
    /// with every one, makes these. All other events come once per change of a peer's state, and
    /// losing one would lose that state.
    private static let boundedCapacity = 512

    init(bell: EventDescriptor) {
        self.bell = bell
    }

    /// - Returns: `false` if the event was refused.
    func post(_ event: WorkerEvent) -> Bool {
        let kept = waiting.withLock { events in
            if event.isBounded, events.count >= Self.boundedCapacity { return false }
            events.append(event)
            return true
        }
        bell.signal()
        return kept
    }

    func take() -> [WorkerEvent] {
        waiting.withLock { events in
            let taken = events
            events = []
            return taken
        }
    }
}
