public import Cryptography

/// A node replaces the WireGuard key of one of its grants; nothing else of the grant changes.
public struct KeyRotation: Hashable, Sendable {
    public var tenant: Name
    /// Of the grant that this amends.
    public var serial: Int64
    /// Grows with every rotation of that grant; at most `validity.from`.
    public var turn: Int64
    public var publicKey: PublicKey
    public var validity: Validity

    public init(
        tenant: Name, serial: Int64, turn: Int64, publicKey: PublicKey, validity: Validity
    ) {
        self.tenant = tenant
        self.serial = serial
        self.turn = turn
        self.publicKey = publicKey
        self.validity = validity
    }
}

extension KeyRotation {
    struct Claims: Codable {
        var v = TrustLimits.version
        var tenant: String
        var serial: Int64
        var turn: Int64
        var publicKey: String
        var nbf: Int64
        var exp: Int64
    }

    init(_ claims: Claims) throws(Refusal) {
        tenant = try Claim.valid(Name(claims.tenant), "tenant")
        serial = try Claim.integer(claims.serial, in: 1...TrustLimits.integerMax, "serial")
        turn = try Claim.integer(claims.turn, in: 1...TrustLimits.integerMax, "turn")
        publicKey = try Claim.valid(PublicKey(base64: claims.publicKey), "publicKey")
        validity = try Validity(nbf: claims.nbf, exp: claims.exp)
    }

    var claims: Claims {
        Claims(
            tenant: tenant.text, serial: serial, turn: turn, publicKey: publicKey.base64,
            nbf: validity.from, exp: validity.until)
    }
}
