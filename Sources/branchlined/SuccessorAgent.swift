import Foundation
import LinuxNetworking
import Logging
import NodeAgent
import Synchronization
import TunnelEngine
import WireGuardConfiguration

/// The agent of a tunnel that another process had: it begins when that process's agent has written
/// its last, and until then the tunnel goes on as it is.
final class SuccessorAgent {
    private let progress = Progress()
    private let thread: WorkerThread

    /// What two threads share.
    private final class Progress: Sendable {
        let agent = Mutex<AgentService?>(nil)
        let isEnding = Atomic(false)
    }

    init(
        folder: MembershipFolder, interface: String, control: TunnelControl, qosFile: QoSFile,
        log: Logger
    ) throws {
        thread = try WorkerThread.start(name: "agent-start") { [progress] _ in
            // Each attempt waits for the lock of the folder.
            while !progress.isEnding.load(ordering: .acquiring) {
                do {
                    let agent = try AgentService(
                        folder: folder, interface: interface, control: control, log: log,
                        qosFile: qosFile)
                    return progress.agent.withLock { $0 = agent }
                } catch {
                    log.error("the agent cannot begin, and tries again: \(error)")
                    if !folder.isJoined { return }
                    // What is not about the lock fails at once.
                    Thread.sleep(forTimeInterval: 1)
                }
            }
        }
    }

    /// As ``AgentService/finish(_:)``.
    func finish(_ peers: [PeerStatus]) {
        progress.isEnding.store(true, ordering: .releasing)
        thread.join()
        progress.agent.withLock { $0 }?.finish(peers)
    }
}
