public import Cryptography

/// One thing that does not count any more.
public struct Revocation: Hashable, Sendable {
    public enum Subject: Hashable, Sendable {
        /// An admin's key: everything below it falls.
        case admin(VerifyingKey)
        /// An enrolment token, and the grant that was signed with it.
        case token(TokenID)
        /// A node's grants up to the serial given beside it.
        case node(VerifyingKey)
        /// A WireGuard key, whoever claims it.
        case publicKey(PublicKey)
    }

    public var subject: Subject
    /// For a node: its grants up to and including this one. `nil` for other subjects.
    public var serial: Int64?
    /// When what is revoked would have expired anyhow; only then may the entry be dropped.
    public var until: Int64

    /// - Parameter serial: For a node's grants only; the default is all there will ever be.
    public init(_ subject: Subject, serial: Int64 = TrustLimits.integerMax, until: Int64) {
        self.subject = subject
        self.until = until
        if case .node = subject { self.serial = serial } else { self.serial = nil }
    }

    /// Whether this takes back at least what `other` does, for at least as long.
    func covers(_ other: Revocation) -> Bool {
        subject == other.subject && (serial ?? 0) >= (other.serial ?? 0) && until >= other.until
    }
}

extension Revocation {
    /// One of the four subjects, and for a node its serial.
    struct Claims: Codable {
        var admin: String?
        var token: String?
        var node: String?
        var publicKey: String?
        var serial: Int64?
        var until: Int64

        /// Differs from subject to subject, and puts them in the order that a list has.
        var order: (String, String) {
            if let admin { return ("admin", admin) }
            if let token { return ("token", token) }
            if let node { return ("node", node) }
            return ("publicKey", publicKey ?? "")
        }
    }

    init(_ claims: Claims) throws(Refusal) {
        if let admin = claims.admin {
            subject = .admin(try Claim.valid(VerifyingKey(base64URL: admin), "admin"))
        } else if let token = claims.token {
            subject = .token(try Claim.valid(TokenID(base64URL: token), "token"))
        } else if let node = claims.node {
            subject = .node(try Claim.valid(VerifyingKey(base64URL: node), "node"))
            serial = try Claim.integer(
                try Claim.present(claims.serial, "serial"), in: 1...TrustLimits.integerMax,
                "serial")
        } else {
            let key = try Claim.present(claims.publicKey, "publicKey")
            subject = .publicKey(try Claim.valid(PublicKey(base64: key), "publicKey"))
        }
        until = try Claim.integer(claims.until, in: 0...TrustLimits.timeMax, "until")
    }

    var claims: Claims {
        var claims = Claims(serial: serial, until: until)
        switch subject {
        case .admin(let key): claims.admin = key.base64URL
        case .token(let id): claims.token = id.base64URL
        case .node(let node): claims.node = node.base64URL
        case .publicKey(let key): claims.publicKey = key.base64
        }
        return claims
    }
}
