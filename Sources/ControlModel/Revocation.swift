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
    init(fields: inout FieldReader) throws(Refusal) {
        if fields.has("admin") {
            subject = .admin(try fields.value("admin") { VerifyingKey(base64URL: $0) })
        } else if fields.has("token") {
            subject = .token(try fields.value("token") { TokenID(base64URL: $0) })
        } else if fields.has("node") {
            subject = .node(try fields.value("node") { VerifyingKey(base64URL: $0) })
            serial = try fields.integer("serial", in: 1...TrustLimits.integerMax)
        } else {
            subject = .publicKey(try fields.value("publicKey") { PublicKey(base64: $0) })
        }
        until = try fields.integer("until", in: 0...TrustLimits.timeMax)
    }

    func write(to object: inout JSONWriter) {
        switch subject {
        case .admin(let key): object.add("admin", key.base64URL)
        case .token(let id): object.add("token", id.base64URL)
        case .node(let node): object.add("node", node.base64URL)
        case .publicKey(let key): object.add("publicKey", key.base64)
        }
        if let serial { object.add("serial", serial) }
        object.add("until", until)
    }
}
