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
    init(fields: inout FieldReader) throws(Refusal) {
        nextRoot = try fields.value("key") { VerifyingKey(base64URL: $0) }
        validity = try Validity(fields: &fields)
        retiresAt = try fields.integer("retires", in: validity.from...validity.until)
    }

    func write(to object: inout JSONWriter) {
        object.add("key", nextRoot.base64URL)
        validity.write(to: &object)
        object.add("retires", retiresAt)
    }
}
