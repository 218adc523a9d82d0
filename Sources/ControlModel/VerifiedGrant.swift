public import Cryptography

/// A grant that counts, and by whose word it does.
///
/// Only a ``Verifier`` makes one. A node's identity is all of this: the same key under another
/// admin, token or tenant is another identity.
public struct VerifiedGrant: Hashable, Sendable {
    public let grant: Grant
    /// The WireGuard key to use: the grant's, or the one that the node rotated to.
    public let publicKey: PublicKey
    public let rotation: KeyRotation?
    public let root: VerifyingKey
    public let admin: AdminKey
    public let token: EnrolmentToken?
    /// The first second in which a link of the chain does not count any more.
    public let validUntil: Int64
    /// Of the grant and, where there is one, of the rotation: tells statements apart.
    let signatures: [Signature]

    public var tenant: Name { grant.tenant }
    public var node: VerifyingKey { grant.node }
}
