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
        var object = JSONWriter()
        object.add("v", TrustLimits.version)
        write(to: &object)
        guard object.isPlain else { throw Refusal(.invalidField, "a text needs escapes") }
        let payload = [UInt8](object.text.utf8)
        let text = Envelope.text(kind: kind, payload: payload, signedBy: key)
        guard text.utf8.count <= kind.bytesMax else { throw Refusal(.tooLarge, kind.rawValue) }
        _ = try Statement(kind: kind, payload: payload)
        return text
    }
}

extension Statement {
    init(kind: StatementKind, payload: [UInt8]) throws(Refusal) {
        var fields = try FieldReader(try JSONReader.read(payload))
        // Before anything else: another version may mean something else by the same names.
        let version = try fields.integer("v", in: 0...TrustLimits.integerMax)
        guard version == TrustLimits.version else {
            throw Refusal(.wrongVersion, "\(kind.rawValue) version \(version)")
        }
        switch kind {
        case .rollover: self = .rollover(try RootRollover(fields: &fields))
        case .admin: self = .admin(try AdminKey(fields: &fields))
        case .token: self = .token(try EnrolmentToken(fields: &fields))
        case .grant: self = .grant(try Grant(fields: &fields, isJoin: false))
        case .joinGrant: self = .grant(try Grant(fields: &fields, isJoin: true))
        case .rotation: self = .rotation(try KeyRotation(fields: &fields))
        case .revocations: self = .revocations(try RevocationList(fields: &fields))
        }
        try fields.finish()
    }

    private func write(to object: inout JSONWriter) {
        switch self {
        case .rollover(let rollover): rollover.write(to: &object)
        case .admin(let admin): admin.write(to: &object)
        case .token(let token): token.write(to: &object)
        case .grant(let grant): grant.write(to: &object)
        case .rotation(let rotation): rotation.write(to: &object)
        case .revocations(let list): list.write(to: &object)
        }
    }
}
