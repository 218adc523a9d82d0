import ControlModel
import Cryptography
import PacketFormats
import WireGuardConfiguration

/// Where peers were reached last, as the tunnel saw it. A peer that the tunnel is told of anew
/// begins there, without waiting to be heard.
///
/// Hints only: they are not signed, and a peer that moved is found by its next packet.
struct LastEndpoints: Sendable {
    private var endpoints: [VerifyingKey: Endpoint]
    private var isUnsaved = false
    private var savedAt: Int64?

    /// - Parameter stored: What cannot be read is left out.
    init(_ stored: StoredMembership.Endpoints) {
        var endpoints: [VerifyingKey: Endpoint] = [:]
        for (node, text) in stored.endpoints.prefix(TrustLimits.rememberedMax) {
            guard let node = VerifyingKey(base64URL: node), let endpoint = Endpoint(text),
                endpoint.port != 0
            else { continue }
            endpoints[node] = endpoint
        }
        self.endpoints = endpoints
    }

    subscript(_ node: VerifyingKey) -> Endpoint? { endpoints[node] }

    /// Takes up where the tunnel's peers are; those that it has no more keep their last place.
    ///
    /// - Parameter plan: ``TunnelPlan/applied``.
    mutating func note(_ present: [PeerStatus], of plan: [VerifyingKey: TunnelPlan.Peer]) {
        if endpoints.count > TrustLimits.rememberedMax {
            endpoints = endpoints.filter { plan[$0.key] != nil }
        }
        let nodes = Dictionary(
            plan.map { ($0.value.publicKey, $0.key) }, uniquingKeysWith: { first, _ in first })
        for peer in present {
            guard let endpoint = peer.endpoint, let node = nodes[peer.publicKey],
                endpoints[node] != endpoint
            else { continue }
            endpoints[node] = endpoint
            isUnsaved = true
        }
    }

    /// - Parameter now: In Unix seconds; a clock that was set back does not put it off for long.
    func isSaveDue(at now: Int64) -> Bool {
        guard isUnsaved, let savedAt else { return isUnsaved }
        return abs(now - savedAt) >= Self.pauseSeconds
    }

    /// What to keep on disk: the places of those who are peers. It counts as saved.
    mutating func takeUnsaved(
        of plan: [VerifyingKey: TunnelPlan.Peer], at now: Int64
    ) -> StoredMembership.Endpoints? {
        guard isUnsaved else { return nil }
        isUnsaved = false
        savedAt = now
        var stored = StoredMembership.Endpoints()
        for (node, endpoint) in endpoints where plan[node] != nil {
            stored.endpoints[node.base64URL] = endpoint.description
        }
        return stored
    }

    static var pauseSeconds: Int64 { 30 }
}
