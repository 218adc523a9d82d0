import ControlModel
import PacketFormats

/// Which of several gateways work.
extension NodeAgent {
    /// Has the gateways that there are asked whether they work, from two of them on.
    func probeGateways(from addresses: Set<IPPrefix>) async {
        let gateways = view.peers.compactMap { gateway($0, askedFrom: addresses) }
            .sorted { $0.node < $1.node }
        guard gateways != probed, gateways.count > 1 || prober != nil else { return }
        probed = gateways
        await startedProber().set(gateways, addresses: addresses)
    }

    private func startedProber() -> GatewayProber {
        if let prober { return prober.prober }
        let new = GatewayProber(control: control, log: log) { [weak self] reports in
            await self?.note(reports)
        }
        prober = (new, Task { await new.run() })
        return new
    }

    private func note(_ reports: [GatewayReport]) {
        gatewayReports = reports
        flushSoon()
    }

    /// - Returns: `nil` for what is no gateway, or cannot be asked anything.
    private func gateway(
        _ peer: NetworkView.Peer, askedFrom addresses: Set<IPPrefix>
    ) -> GatewayHealth.Gateway? {
        guard peer.verified.grant.role == .gateway, let applied = plan.applied[peer.node]
        else { return nil }
        let families = Set(addresses.map(\.address.isIPv4))
        // Nobody else may have the node ask about in the tunnel.
        let told = peer.preference.health.filter { target in
            families.contains(target.address.isIPv4)
                && peer.prefixes.contains { $0.contains(target.address) }
        }
        let own = peer.verified.grant.addresses.sorted().map(\.address)
            .first { families.contains($0.isIPv4) }.map { [HealthTarget($0, .icmp)] }
        let targets = told.isEmpty ? own ?? [] : told
        guard !targets.isEmpty else { return nil }
        return GatewayHealth.Gateway(
            node: peer.node, name: peer.name, publicKey: applied.publicKey,
            priority: peer.preference.priority, weight: peer.preference.weight,
            admission: peer.admission, targets: targets)
    }
}
