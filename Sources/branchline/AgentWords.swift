import ControlModel
import NodeAgent
import PacketFormats

/// Why a node or its peers do not count, in words; the reason for programs comes last.
enum AgentWords {
    /// The node's own state, and what to do about it.
    static func state(_ status: AgentStatus) -> String {
        guard let detail = status.stateDetail, let standing = Standing(rawValue: status.state)
        else { return status.state }
        let words: String
        switch standing {
        case .active: return status.state
        case .pending:
            words = "pending, waiting for an admin's approval: `branchline node approve "
                + "\(status.name) --tenant \(status.tenant)`"
        case .suspended: words = "suspended by an admin"
        case .revoked:
            switch reason(of: detail) {
            case Refusal.Reason.tokenRevoked.rawValue:
                words = "revoked by an admin, with the token that it joined with"
            case Refusal.Reason.adminRevoked.rawValue:
                words = "revoked, with the admin who let it in"
            case Refusal.Reason.keyRevoked.rawValue: words = "revoked by an admin, with its key"
            default: words = "revoked by an admin"
            }
        case .expired:
            words = "expired; have it renewed: `branchline node renew \(status.name) --tenant "
                + "\(status.tenant)`"
        case .refused: words = "refused: \(self.words(for: reason(of: detail)))"
        }
        return "\(words) (\(Text.line(detail)))"
    }

    /// What the node's grant asks of its tunnels.
    static func profile(_ text: String) -> String {
        guard let profile = TunnelProfile(rawValue: text) else { return Text.line(text) }
        return profile == .wireguard
            ? "\(text), and more where a peer must have it"
            : "\(text) by its grant, and nothing weaker"
    }

    /// One case: who, why and when.
    static func refusal(_ refusal: RefusalCounts.Case, _ ago: String) -> String {
        let key = refusal.node.map { String($0.prefix(shortKeyCount)) }
        let who = [refusal.name.map(Text.line), key.map { "node \($0)" }].compactMap { $0 }
        let detail = refusal.detail.isEmpty ? "" : ": \(Text.line(refusal.detail))"
        return (who.isEmpty ? "" : who.joined(separator: ", ") + ": ")
            + "\(words(for: refusal.reason)), \(ago) (\(refusal.reason)\(detail))"
    }

    private static func reason(of detail: String) -> String {
        String(detail.prefix { $0 != ":" })
    }

    private static func words(for reason: String) -> String {
        if let reason = RefusalCounts.Reason(rawValue: reason) { return words(for: reason) }
        if let reason = Refusal.Reason(rawValue: reason) { return words(for: reason) }
        return "it cannot be believed"
    }

    private static func words(for reason: RefusalCounts.Reason) -> String {
        switch reason {
        case .unreadable: "the coordinator sent what cannot be read"
        case .nodeMismatch: "the coordinator sent another node's grant"
        case .ownKey: "it has a key of this node"
        case .notAPeer: "nodes of these roles do not talk to each other"
        case .addressOverlap: "another peer has its addresses"
        case .tooManyPeers: "there are too many peers"
        }
    }

    private static func words(for reason: Refusal.Reason) -> String {
        switch reason {
        case .nodeRevoked: "revoked or suspended by an admin"
        case .keyRevoked: "its key is revoked"
        case .tokenRevoked: "the token that it joined with is revoked"
        case .adminRevoked: "the admin who signed for it is revoked"
        case .approvalRequired: "it waits for an admin's approval"
        case .expired: "its grant has expired"
        case .rootRetired: "it is signed by a root that has retired"
        case .notYetValid, .numberAhead: "it is from the future; compare the clocks"
        case .unknownIssuer, .signatureInvalid, .keyNotAllowed, .chainEmpty:
            "nobody in this organisation signed it"
        case .mixedTenant: "it is of another tenant"
        case .superseded, .serialReused: "its grant is older than one that was seen before"
        case .keyInUse, .duplicateKey: "another node has its key"
        case .revocationListBackwards, .revocationListConflict, .revocationListShrunk,
            .revocationListStale:
            "an older or other revocation list than this node has"
        case .tenantOutOfScope, .roleOutOfScope, .profileOutOfScope, .classOutOfScope,
            .addressOutOfScope, .routeOutOfScope, .groupOutOfScope, .validityTooLong,
            .issuedOutsideToken, .tokenMismatch:
            "whoever signed it may not sign this"
        default: "it cannot be believed"
        }
    }

    private static let shortKeyCount = 10
}
