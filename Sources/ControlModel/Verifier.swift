import Cryptography

/// Decides what signed statements are worth, from what it knows and the time alone.
///
/// Asking changes nothing. What contradicts earlier grants is ``TrustMemory``'s question.
public struct Verifier: Hashable, Sendable {
    public private(set) var anchors: RootAnchors
    public private(set) var revocations: Revocations
    public let policy: TrustPolicy

    public init(
        anchors: RootAnchors, revocations: Revocations = Revocations(),
        policy: TrustPolicy = TrustPolicy()
    ) {
        self.anchors = anchors
        self.revocations = revocations
        self.policy = policy
    }

    /// Whether a node is what its chain says, now.
    ///
    /// - Parameter chain: Admin key, for a node that enrolled itself the token, grant, and where
    ///   the node rotated its key the rotation.
    /// - Parameter now: In Unix seconds.
    public func verifyGrant(
        _ chain: StatementChain, at now: Int64
    ) throws(Refusal) -> VerifiedGrant {
        let walk = try ChainWalk(chain, verifier: self, now: now, isTokenUsedNow: false)
        let verified = try walk.verifiedGrant()
        if let token = verified.token, token.needsApproval {
            throw Refusal(.approvalRequired, "token \(token.id)")
        }
        return verified
    }

    /// Whether a node may join now: as `verifyGrant`, and the token must not be over. A grant that
    /// needs approval passes: it is the request.
    ///
    /// - Parameter chain: Admin key, token and the grant that its key signed.
    public func verifyEnrolment(
        _ chain: StatementChain, at now: Int64
    ) throws(Refusal) -> VerifiedGrant {
        let walk = try ChainWalk(chain, verifier: self, now: now, isTokenUsedNow: true)
        let verified = try walk.verifiedGrant()
        guard verified.token != nil else { throw Refusal(.wrongType, "no token in the chain") }
        return verified
    }

    /// What an admin's key may sign now.
    ///
    /// - Parameter chain: The admin key alone.
    public func verifyAdmin(_ chain: StatementChain, at now: Int64) throws(Refusal) -> AdminKey {
        let walk = try ChainWalk(chain, verifier: self, now: now, isTokenUsedNow: false)
        guard let admin = walk.admin, chain.links.count == 1 else {
            throw Refusal(.wrongType, "no admin key at the end")
        }
        return admin
    }

    /// Whether a node may use this token now.
    ///
    /// - Parameter chain: Admin key and token.
    public func verifyToken(
        _ chain: StatementChain, at now: Int64
    ) throws(Refusal) -> EnrolmentToken {
        let walk = try ChainWalk(chain, verifier: self, now: now, isTokenUsedNow: true)
        guard let token = walk.token, chain.links.count == 2 else {
            throw Refusal(.wrongType, "no token at the end")
        }
        return token
    }

    /// Takes in a newer revocation list.
    ///
    /// - Parameter chain: Admin key and list, or the list alone where the root signed it.
    /// - Returns: The list.
    @discardableResult
    public mutating func acceptRevocations(
        _ chain: StatementChain, at now: Int64
    ) throws(Refusal) -> RevocationList {
        let walk = try ChainWalk(chain, verifier: self, now: now, isTokenUsedNow: false)
        guard let (list, signature) = walk.list, let text = chain.links.last else {
            throw Refusal(.wrongType, "no revocation list at the end")
        }
        try revocations.accept(
            list, signature: signature, text: text, isByRoot: walk.admin == nil, at: now,
            skewSeconds: policy.skewSeconds)
        return list
    }

    /// Follows the root to its next key.
    ///
    /// - Parameter text: A rollover, signed by a root that is known.
    public mutating func follow(_ text: String, at now: Int64) throws(Refusal) {
        let envelope = try Envelope(parsing: text)
        guard envelope.kind == .rollover else {
            throw Refusal(.wrongType, envelope.kind.rawValue)
        }
        guard anchors.contains(envelope.signer) else {
            throw Refusal(.unknownIssuer, "\(envelope.signer) is no root")
        }
        guard envelope.isSigned else { throw Refusal(.signatureInvalid, "root rollover") }
        guard case .rollover(let rollover) = try Statement(
            kind: envelope.kind, payload: envelope.payload)
        else { throw Refusal(.wrongType, envelope.kind.rawValue) }
        try anchors.follow(
            rollover, signedBy: envelope.signer, at: now, skewSeconds: policy.skewSeconds)
    }
}
