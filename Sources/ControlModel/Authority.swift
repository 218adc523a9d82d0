public import Cryptography

/// What an admin's key may sign now, and signing that checks its own result as every node would.
///
/// The private key is lent for each signature.
public struct Authority: Hashable, Sendable {
    /// The admin's key as the root signed it.
    public let link: String
    public let admin: AdminKey
    public let verifier: Verifier

    /// - Throws: What the verifier says of the link, such as `expired`.
    public init(link: String, verifier: Verifier, at now: Int64) throws(Refusal) {
        self.link = link
        self.verifier = verifier
        admin = try verifier.verifyAdmin(StatementChain([link]), at: now)
    }

    /// Signs what a node may be.
    ///
    /// - Throws: What nodes would say of it, such as `tenantOutOfScope`.
    public func chain(
        of grant: Grant, signedBy key: borrowing SigningKey, at now: Int64
    ) throws(Refusal) -> StatementChain {
        let chain = StatementChain([link, try Statement.grant(grant).signed(by: key)])
        _ = try verifier.verifyGrant(chain, at: now)
        return chain
    }

    /// Signs the next revocation list of a realm.
    ///
    /// - Throws: What nodes would say of it, such as `revocationListShrunk`.
    public func chain(
        of list: RevocationList, signedBy key: borrowing SigningKey, at now: Int64
    ) throws(Refusal) -> StatementChain {
        let chain = StatementChain([link, try Statement.revocations(list).signed(by: key)])
        var next = verifier
        try next.acceptRevocations(chain, at: now)
        return chain
    }
}
