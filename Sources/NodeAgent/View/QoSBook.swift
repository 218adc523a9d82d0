import ControlModel
import Cryptography
import PacketFormats
import WireGuardConfiguration

/// What a tunnel's ``QoSSettings`` are made of, kept up to date node by node.
///
/// Pure: says when there are other settings than those that were taken. A policy only shapes and
/// orders; what a node may be at best is in its signed grant, whatever the policy says.
struct QoSBook: Sendable {
    /// Another node, as far as it concerns this.
    struct Peer: Hashable, Sendable {
        var name: String
        var publicKey: PublicKey
        var ceiling: ClassCeiling
    }

    private var peers: [VerifyingKey: Peer] = [:]
    private var policy: QoSPolicy?
    private var local: QoSPolicy?
    private var name = ""
    /// `nil` without a grant that counts.
    private var ceiling: ClassCeiling?
    private var isGateway = false
    /// By the name of a node; those of a local file before the policy's.
    private var links: [String: QoSPolicy.NodeLink] = [:]
    /// Something differs from what ``takeSettings()`` gave.
    private(set) var isChanged = true

    /// - Parameter peer: `nil` for a node that is no peer.
    mutating func note(_ peer: Peer?, of node: VerifyingKey) {
        let old = peers.removeValue(forKey: node)
        peers[node] = peer
        let was = old.flatMap { entry(of: $0) }, now = peer.flatMap { entry(of: $0) }
        // Most peers have nothing that is said of them alone.
        guard was != nil || now != nil else { return }
        if was != now || old?.publicKey != peer?.publicKey { isChanged = true }
    }

    /// The node itself.
    ///
    /// - Parameter grant: `nil` while it has none that counts.
    mutating func note(own grant: Grant?, name: String) {
        let new = (name, grant?.ceiling, grant?.role == .gateway)
        guard new != (self.name, ceiling, isGateway) else { return }
        (self.name, ceiling, isGateway) = new
        isChanged = true
    }

    mutating func note(_ policy: QoSPolicy?) {
        guard self.policy != policy else { return }
        self.policy = policy
        noteLinks()
    }

    mutating func note(local: QoSPolicy?) {
        guard self.local != local else { return }
        self.local = local
        noteLinks()
    }

    private mutating func noteLinks() {
        links = (policy?.links ?? [:]).merging(local?.links ?? [:]) { _, local in local }
        isChanged = true
    }

    /// What the tenant may use at a gateway, as far as a policy says it.
    var rates: TenantRates {
        TenantRates(
            minimum: policy?.minimumRate ?? local?.minimumRate,
            maximum: policy?.maximumRate ?? local?.maximumRate)
    }

    /// The settings as they are now.
    ///
    /// - Complexity: O(peers).
    mutating func takeSettings() -> QoSSettings {
        isChanged = false
        var settings = QoSSettings(policy: policy, local: local)
        let line = links[name]
        settings.link = settings.link
            ?? QoSSettings.Link(
                rate: line?.uplinkRate, minimum: line?.uplinkMinimumRate,
                overheadBytes: line?.overheadBytes)
        settings.ceiling = ceiling?.trafficClass
        // No grant allows more; what lowers it for one peer stands with the peer.
        settings.peersCeiling = ClassCeiling.token.trafficClass
        for peer in peers.values {
            guard let granted = entry(of: peer) else { continue }
            var entry = settings.peers[peer.publicKey] ?? QoSSettings.Peer()
            entry.link = entry.link ?? granted.link
            entry.ceiling = [entry.ceiling, granted.ceiling].compactMap(\.self).max()
            settings.peers[peer.publicKey] = entry
        }
        return settings
    }

    /// What was taken did not come into force.
    mutating func giveBack() { isChanged = true }

    /// - Returns: `nil` where nothing is said of the peer alone: its ceiling is that of all peers.
    private func entry(of peer: Peer) -> QoSSettings.Peer? {
        let line = isGateway ? links[peer.name] : nil
        let entry = QoSSettings.Peer(
            link: QoSSettings.Link(rate: line?.downlinkRate, overheadBytes: line?.overheadBytes),
            ceiling: peer.ceiling == .token ? nil : peer.ceiling.trafficClass)
        return entry == QoSSettings.Peer() ? nil : entry
    }
}

extension QoSBook.Peer {
    init(_ peer: NetworkView.Peer) {
        self.init(
            name: peer.name, publicKey: peer.verified.publicKey,
            ceiling: peer.verified.grant.ceiling)
    }
}
