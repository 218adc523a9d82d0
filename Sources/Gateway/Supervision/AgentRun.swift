import EgressScheduling
import LinuxNetworking
import Logging
import NodeAgent
import Synchronization
import TunnelEngine
import WireGuardConfiguration

/// A tenant's agent, from its start to its last writes.
final class AgentRun: Sendable {
    private let folder: MembershipFolder
    private let lock: PrivateFolder.Lock
    private let task: BesideTask
    private let last: Last

    private final class Last: Sendable {
        let peers = Mutex<[PeerStatus]>([])
        let rates = Mutex(TenantRates())
    }

    init(
        _ folder: MembershipFolder, of domain: TenantDomain, place: InterfacePlace,
        control: TunnelControl, log: Logger
    ) throws(TenantFault) {
        self.folder = folder
        do {
            guard folder.isJoined else { throw MembershipFault.notJoined(path: folder.path) }
            lock = try PrivateFolder.Lock(folder.path, waitNanosecondsMax: 0)
            folder.forgetStatus()
            let last = Last()
            let agent = try NodeAgent(
                folder: folder, interface: domain.interface, place: place, control: control,
                log: log, routeHook: domain.routeHook, connectionsMax: domain.limits.flowsMax,
                qosFile: domain.qos.map { QoSFile(path: $0) },
                tellRates: { rates in last.rates.withLock { $0 = rates } })
            self.last = last
            task = BesideTask { await agent.run { last.peers.withLock { $0 } } }
        } catch {
            throw TenantFault(.membershipUnusable, "\(error)")
        }
    }

    var status: AgentStatus? { folder.status() }

    /// What policies promise to the tenant.
    var rates: TenantRates { last.rates.withLock { $0 } }

    /// A membership that was removed under the agent.
    var fault: TenantFault? {
        folder.isJoined
            ? nil : TenantFault(.membershipUnusable, "\(folder.path) holds no membership any more")
    }

    /// Ends the agent and waits a moment for its last writes.
    ///
    /// - Parameter peers: As the tunnel left them.
    func finish(_ peers: [PeerStatus]) async {
        last.peers.withLock { $0 = peers }
        await task.finish()
    }
}
