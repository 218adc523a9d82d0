import Cryptography
import LinuxNetworking
import Logging
import TunnelEngine
import WireGuardConfiguration

/// Peers that were reached before are spoken to at once after a restart.
///
/// Whoever restarts has lost its sessions, and the others find out only by its silence, or by a
/// handshake that it begins. Nodes behind an address translation have no endpoint that anybody
/// could be told, so the places where they were last (``LastEndpoints``) are kept:
///
/// 1. they go to the tunnel together with the peer (``TunnelPlan``);
/// 2. a persistent keepalive that is switched on for a moment begins the handshake (``greet()``),
///    for some peers after the others;
/// 3. where the peers are now is asked every few seconds, and once more at the end.
extension NodeAgent {
    /// - Parameter nodes: Peers that the tunnel was just told of with their last endpoint.
    func greetSoon(_ nodes: [VerifyingKey]) {
        greeted += nodes
        guard !isGreeting, !greeted.isEmpty else { return }
        isGreeting = true
        Task {
            await greet()
            isGreeting = false
        }
    }

    private func greet() async {
        while !greeted.isEmpty, !Task.isCancelled {
            let batch = Array(greeted.prefix(Self.greetedAtOnce))
            greeted.removeFirst(batch.count)
            await setKeepalive(of: batch, seconds: Self.greetingKeepaliveSeconds)
            Task {
                // The interface may come up only now, and begins with the keepalives.
                try? await Task.sleep(for: .seconds(Self.greetingSeconds))
                await setKeepalive(of: batch, seconds: 0)
            }
            try? await Task.sleep(for: .milliseconds(Self.greetingPauseMilliseconds))
        }
    }

    private func setKeepalive(of nodes: [VerifyingKey], seconds: UInt16) async {
        let settings = nodes.compactMap { node -> PeerSettings? in
            guard let peer = plan.applied[node], peer.keepaliveSeconds == 0 else { return nil }
            return PeerSettings(
                publicKey: peer.publicKey, updateOnly: true, persistentKeepaliveSeconds: seconds)
        }
        guard !settings.isEmpty else { return }
        do {
            try await control.apply(DeviceSettings(peers: settings))
        } catch {
            log.debug("greeting \(settings.count) peers: \(error)")
        }
    }

    /// Asks where the peers are; seldom where there are many.
    func noteEndpoints() async {
        let now = Self.now
        let pause = plan.applied.count > Self.manyPeers ? LastEndpoints.pauseSeconds : 0
        guard isInForce, abs(now - endpointsNotedAt) >= pause else { return }
        endpointsNotedAt = now
        guard let status = try? await control.status() else { return }
        lastEndpoints.note(status.peers, of: plan.applied)
        if lastEndpoints.isSaveDue(at: now) { saveEndpoints() }
    }

    func saveEndpoints() {
        // Before all peers are taken up, and while there are none, what is on disk is better.
        guard kept == nil, isInForce,
            let stored = lastEndpoints.takeUnsaved(of: plan.applied, at: Self.now)
        else { return }
        do {
            try folder.save(stored)
        } catch {
            log.error("the peers' endpoints cannot be saved: \(error)")
        }
    }

    private static var greetedAtOnce: Int { 50 }
    /// With ``greetedAtOnce``, 1000 handshakes each second at most.
    private static var greetingPauseMilliseconds: Int64 { 50 }
    private static var greetingSeconds: Int64 { 3 }
    /// Longer than it is switched on: it sends once.
    private static var greetingKeepaliveSeconds: UInt16 { 25 }
}
