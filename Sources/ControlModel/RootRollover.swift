public import Cryptography

/// The old root says which key follows it.
///
/// From `validity.from` both count; the old one stops at `retiresAt`. Whoever was away meanwhile
/// can still follow until `validity.until`.
public struct RootRollover: Hashable, Sendable {
    public var nextRoot: VerifyingKey
    public var retiresAt: Int64
    public var validity: Validity

    public init(nextRoot: VerifyingKey, retiresAt: Int64, validity: Validity) {
        self.nextRoot = nextRoot
        self.retiresAt = retiresAt
        self.validity = validity
    }
}

extension RootRollover {
    struct Claims: Codable {
        var v = TrustLimits.version
        var key: String
        var retires: Int64
        var nbf: Int64
        var exp: Int64
    }

    init(_ claims: Claims) throws(Refusal) {
        nextRoot = try Claim.valid(VerifyingKey(base64URL: claims.key), "key")
        validity = try Validity(nbf: claims.nbf, exp: claims.exp)
        retiresAt = try Claim.integer(
            claims.retires, in: validity.from...validity.until, "retires")
    }

    var claims: Claims {
        Claims(
            key: nextRoot.base64URL, retires: retiresAt, nbf: validity.from,
            exp: validity.until)
    }
}
