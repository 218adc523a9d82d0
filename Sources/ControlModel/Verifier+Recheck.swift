/// What a verifier asks again of grants that it has verified, as time goes on and lists come in.
extension Verifier {
    /// Whether a verified grant still counts: nothing above it was revoked, retired or expired
    /// since. Signatures do not change, and are not checked again.
    ///
    /// - Parameter now: In Unix seconds.
    /// - Throws: As ``verifyGrant(_:at:)`` would.
    public func recheck(_ verified: VerifiedGrant, at now: Int64) throws(Refusal) {
        _ = try anchors.anchor(verified.root, at: now, skewSeconds: policy.skewSeconds)
        guard now < verified.validUntil + policy.skewSeconds else {
            throw Refusal(.expired, "the chain counted until \(verified.validUntil), it is \(now)")
        }
        try revocations.check(verified.admin, in: verified.tenant)
        if let token = verified.token { try revocations.check(token, in: verified.tenant) }
        try revocations.check(verified.grant, publicKey: verified.publicKey)
        try checkAgeOfRevocations(for: verified.tenant, at: now)
    }

    /// The first second in which a verified grant does not count any more, if nothing is heard
    /// until then.
    public func end(of verified: VerifiedGrant) -> Int64 {
        let anchor = anchors.anchors.first { $0.key == verified.root }
        let until = min(verified.validUntil, anchor?.retiresAt ?? TrustLimits.timeMax)
        return until + policy.skewSeconds
    }

    func checkAgeOfRevocations(for tenant: Name, at now: Int64) throws(Refusal) {
        guard let ageMax = policy.revocationAgeSecondsMax else { return }
        let age = revocations.ageSeconds(for: tenant, at: now)
        guard let age, age <= ageMax else {
            throw Refusal(
                .revocationListStale, age.map { "\($0) s old, at most \(ageMax)" } ?? "none")
        }
    }
}
