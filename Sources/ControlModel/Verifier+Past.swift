import Cryptography

extension Verifier {
    /// What a node was granted, for an admin who is about to grant it anew.
    ///
    /// The chain may be over, its token used up, and the node suspended or waiting for approval:
    /// that is what a new grant changes. What was signed wrongly, or under a key or token that was
    /// revoked since, and a node that was revoked for good are refused, so that nobody gets such a
    /// thing signed again. Whether it is the node's newest grant, only who remembers the serial
    /// knows.
    ///
    /// - Parameter now: In Unix seconds.
    public func verifyPast(
        _ chain: StatementChain, at now: Int64
    ) throws(Refusal) -> VerifiedGrant {
        // What cannot be read has no begin, and is refused by name on the walk.
        let moment = (try? chain.begin) ?? now
        guard moment <= now + policy.skewSeconds else {
            throw Refusal(.notYetValid, "chain counts from \(moment), it is \(now)")
        }
        let past = Verifier(anchors: anchors)
        let walk = try ChainWalk(
            chain, verifier: past, now: min(moment, now), isTokenUsedNow: false)
        let verified = try walk.verifiedGrant()
        try checkRevocations(ofPast: verified)
        return verified
    }

    private func checkRevocations(ofPast verified: VerifiedGrant) throws(Refusal) {
        let tenant = verified.tenant
        guard revocations.revocation(of: .admin(verified.admin.key), in: tenant) == nil else {
            throw Refusal(.adminRevoked, "\(verified.admin.key)")
        }
        if let token = verified.token {
            guard revocations.revocation(of: .token(token.id), in: tenant) == nil else {
                throw Refusal(.tokenRevoked, "\(token.id)")
            }
        }
        for key in [verified.publicKey, verified.grant.publicKey] {
            guard revocations.revocation(of: .publicKey(key), in: tenant) == nil else {
                throw Refusal(.keyRevoked, "\(key)")
            }
        }
        let serial = revocations.revokedSerial(of: verified.node, in: tenant)
        guard serial < TrustLimits.integerMax else {
            throw Refusal(.nodeRevoked, "\(verified.node) for good")
        }
    }
}

extension StatementChain {
    /// The first second in which all links counted, as they say it themselves.
    fileprivate var begin: Int64 {
        get throws(Refusal) {
            guard links.count <= TrustLimits.chainLinksMax else { throw Refusal(.chainTooLong) }
            var begin: Int64 = 0
            for link in links {
                let envelope = try Envelope(parsing: link)
                switch try Statement(kind: envelope.kind, payload: envelope.payload) {
                case .admin(let admin): begin = max(begin, admin.validity.from)
                case .token(let token): begin = max(begin, token.validity.from)
                case .grant(let grant): begin = max(begin, grant.validity.from)
                case .rotation(let rotation): begin = max(begin, rotation.validity.from)
                case .rollover, .revocations: throw Refusal(.wrongType, envelope.kind.rawValue)
                }
            }
            return begin
        }
    }
}
