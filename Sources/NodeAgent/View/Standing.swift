import ControlModel

/// What the node's own chain is worth, by its own verification.
public enum Standing: String, Codable, CaseIterable, Hashable, Sendable {
    /// It joined with a token that needs an admin's approval.
    case pending
    case active
    /// Its grants so far are revoked; a new one brings it back.
    case suspended
    /// It, its key, its token or the admin who let it in is revoked.
    case revoked
    case expired
    /// Its chain is not one that counts, for another reason.
    case refused

    init(_ refusal: Refusal, revokedSerial: Int64) {
        switch refusal.reason {
        case .approvalRequired: self = .pending
        case .nodeRevoked:
            self = revokedSerial < TrustLimits.integerMax ? .suspended : .revoked
        case .keyRevoked, .tokenRevoked, .adminRevoked: self = .revoked
        case .expired, .rootRetired: self = .expired
        default: self = .refused
        }
    }
}
