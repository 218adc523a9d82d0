public import Cryptography

/// Anything that is signed.
public enum Statement: Hashable, Sendable {
    case rollover(RootRollover)
    case admin(AdminKey)
    case token(EnrolmentToken)
    /// By an admin, or by a token's key where the grant names one.
    case grant(Grant)
    case rotation(KeyRotation)
    case revocations(RevocationList)

    public var kind: StatementKind {
        switch self {
        case .rollover: .rollover
        case .admin: .admin
        case .token: .token
        case .grant(let grant): grant.token == nil ? .grant : .joinGrant
        case .rotation: .rotation
        case .revocations: .revocations
        }
    }

    /// The statement as a JWS in its compact form.
    ///
    /// - Throws: What every verifier would say about the content, such as `invalidField`; whether
    ///   the key may sign it is not asked.
    public func signed(by key: borrowing SigningKey) throws(Refusal) -> String {
        let payload = try payload()
        let text = try Envelope.text(kind: kind, payload: payload, signedBy: key)
        guard text.utf8.count <= kind.bytesMax else { throw Refusal(.tooLarge, kind.rawValue) }
        _ = try Statement(kind: kind, payload: payload)
        return text
    }
}

extension Statement {
    init(kind: StatementKind, payload: [UInt8]) throws(Refusal) {
        // Before anything else: another version may mean something else by the same names.
        let version = (try CanonicalJSON.decode(payload) as Version).v
        guard version == TrustLimits.version else {
            throw Refusal(.wrongVersion, "\(kind.rawValue) version \(version)")
        }
        switch kind {
        case .rollover: self = .rollover(try RootRollover(try CanonicalJSON.decode(payload)))
        case .admin: self = .admin(try AdminKey(try CanonicalJSON.decode(payload)))
        case .token: self = .token(try EnrolmentToken(try CanonicalJSON.decode(payload)))
        case .grant: self = .grant(try Grant(try CanonicalJSON.decode(payload), isJoin: false))
        case .joinGrant: self = .grant(try Grant(try CanonicalJSON.decode(payload), isJoin: true))
        case .rotation: self = .rotation(try KeyRotation(try CanonicalJSON.decode(payload)))
        case .revocations:
            self = .revocations(try RevocationList(try CanonicalJSON.decode(payload)))
        }
        try CanonicalJSON.check(payload, against: try self.payload())
    }

    private struct Version: Decodable {
        let v: Int64
    }

    private func payload() throws(Refusal) -> [UInt8] {
        switch self {
        case .rollover(let rollover): try CanonicalJSON.encode(rollover.claims)
        case .admin(let admin): try CanonicalJSON.encode(admin.claims)
        case .token(let token): try CanonicalJSON.encode(token.claims)
        case .grant(let grant): try CanonicalJSON.encode(grant.claims)
        case .rotation(let rotation): try CanonicalJSON.encode(rotation.claims)
        case .revocations(let list): try CanonicalJSON.encode(list.claims)
        }
    }
}
