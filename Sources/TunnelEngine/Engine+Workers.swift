import LinuxNetworking
import WireGuardProtocol

/// What passes between the control thread and the workers.
extension Engine {
    func readInbox() {
        inbox.bell.drain()
        let now = Clock.monotonicNanoseconds()
        for event in inbox.take() {
            switch event {
            case .attention(let tunnel, let peer):
                tunnels[tunnel]?.device.noteActivity(peer, now: now)
            case .confirmed(let session):
                tunnels[session.tunnel]?.device.sessionConfirmed(session, now: now)
                tunnels[session.tunnel]?.performActions()
            case .roamed(let tunnel, let peer, let endpoint, let local):
                tunnels[tunnel]?.noteRoaming(peer, endpoint, local)
            case .answer(let tunnel, let peer, let packet, let time):
                tunnels[tunnel]?.hand(on: packet, from: peer, at: time)
            case .pathAnswer(let tunnel, let peer, let answer, let arrivedAt):
                tunnels[tunnel]?.take(answer, from: peer, arrivedAt: arrivedAt)
            case .probeSkipped(let tunnel, let peer, let probe):
                tunnels[tunnel]?.device.pathProbeSkipped(peer, probe, now: now)
            case .handshakeMessage(let bytes, let source, let local):
                receiveHandshake(bytes, from: source, at: local)
            case .sourceRefused:
                for tunnel in tunnels.values { tunnel.forgetLocalAddresses() }
            case .deviceGone(let tunnel):
                tunnels[tunnel]?.end = .deviceRemoved
            case .tunnelForgotten(let tunnel):
                noteForgotten(tunnel)
            case .report(let tunnel, let number, let report):
                tunnels[tunnel]?.take(report, number: number)
            }
        }
    }

    func postToAll(_ command: WorkerCommand) {
        for index in workers.indices { pendingCommands[index].append(command) }
        postCommands()
    }

    func postCommands() {
        for (index, link) in workers.enumerated() where !pendingCommands[index].isEmpty {
            link.post(pendingCommands[index])
            pendingCommands[index] = []
            if bellDeadline == nil {
                bellDeadline = Clock.monotonicNanoseconds() + EngineLimits.bellNanoseconds
            }
        }
    }

    /// Wakes workers that have slept since commands were posted, so that keys that are over are
    /// wiped soon, however quiet the tunnel is.
    func ringOwedBells() {
        guard let deadline = bellDeadline, deadline <= Clock.monotonicNanoseconds() else { return }
        bellDeadline = nil
        for link in workers { link.bell.signal() }
    }
}
