public import LinuxNetworking
import Synchronization
public import WireGuardConfiguration
public import Logging
public import TunnelEngine
import SystemPackage

/// Runs an agent beside a tunnel, for a program whose main thread is the tunnel's.
public final class AgentService: Sendable {
    private let agent: NodeAgent
    private let done: EventDescriptor
    private let lock: PrivateFolder.Lock
    private let task: Task<Void, Never>
    private let last: LastPeers

    /// Reads the membership and starts.
    ///
    /// - Throws: ``MembershipFault`` and what the system refuses, in words for the operator.
    public init(
        folder: MembershipFolder, interface: String, place: InterfacePlace = .host,
        control: TunnelControl, log: Logger, routeHook: String? = nil, qosFile: QoSFile? = nil
    ) throws {
        guard folder.isJoined else { throw MembershipFault.notJoined(path: folder.path) }
        lock = try folder.lock()
        let agent = try NodeAgent(
            folder: folder, interface: interface, place: place, control: control, log: log,
            routeHook: routeHook, qosFile: qosFile)
        let done = try EventDescriptor()
        let last = LastPeers()
        self.last = last
        self.agent = agent
        self.done = done
        task = Task.detached {
            await agent.run { last.peers.withLock { $0 } }
            done.signal()
        }
    }

    /// Ends the agent and waits a moment for its last writes; the thread sleeps meanwhile.
    ///
    /// - Parameter peers: As the tunnel left them.
    public func finish(_ peers: [PeerStatus]) {
        last.peers.withLock { $0 = peers }
        task.cancel()
        guard let loop = try? EventLoop(capacity: 1) else { return }
        try? loop.add(done.fileDescriptor, token: 0, events: .readable)
        _ = loop.wait(timeoutNanoseconds: Self.finishNanosecondsMax)
    }

    private static let finishNanosecondsMax: Int64 = 2_000_000_000
}

/// What the tunnel's thread leaves to the agent's last writes.
private final class LastPeers: Sendable {
    let peers = Mutex<[PeerStatus]>([])
}
