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
    init(fields: inout FieldReader) throws(Refusal) {
        tenant = try fields.value("tenant") { Name($0) }
        serial = try fields.integer("serial", in: 1...TrustLimits.integerMax)
        turn = try fields.integer("turn", in: 1...TrustLimits.integerMax)
        publicKey = try fields.value("publicKey") { PublicKey(base64: $0) }
        validity = try Validity(fields: &fields)
    }

    func write(to object: inout JSONWriter) {
        object.add("tenant", tenant.text)
        object.add("serial", serial)
        object.add("turn", turn)
        object.add("publicKey", publicKey.base64)
        validity.write(to: &object)
    }
}
