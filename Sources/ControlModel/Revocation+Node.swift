import Cryptography

extension VerifiedGrant {
    /// What suspends the node: its grants so far stop to count, a new one brings it back.
    ///
    /// All up to this second are meant, so that a coordinator cannot keep a newer grant back and
    /// have an older one suspended.
    /// - Parameter now: In Unix seconds.
    public func suspension(at now: Int64) -> Revocation {
        Revocation(
            .node(node), serial: max(now, grant.serial), until: lastGrantUntil(at: now))
    }

    /// What takes the node away for good: all grants of its key, its WireGuard keys, and the token
    /// that it joined with, which somebody else may have kept.
    public func revocations(at now: Int64) -> [Revocation] {
        let until = lastGrantUntil(at: now)
        let keys: Set<PublicKey> = [publicKey, grant.publicKey]
        return [Revocation(.node(node), until: until)]
            + keys.sorted().map { Revocation(.publicKey($0), until: until) }
            + (token.map { [$0.revocation(at: now)] } ?? [])
    }

    /// When the last grant ends that anybody may hold for this node.
    private func lastGrantUntil(at now: Int64) -> Int64 {
        let until = max(now, grant.serial) + TrustLimits.grantSecondsMax
        return max(until, grant.validity.until, token?.lastGrantUntil ?? 0)
    }
}

extension EnrolmentToken {
    /// What ends this token, and the grant that was signed with it.
    public func revocation(at now: Int64) -> Revocation {
        Revocation(.token(id), until: max(lastGrantUntil, now))
    }
}

extension AdminKey {
    /// What ends this key and everything below it, under whichever of its statements.
    public func revocation(at now: Int64) -> Revocation {
        Revocation(.admin(key), until: max(validity.until, now + TrustLimits.adminSecondsMax))
    }
}

extension RevocationList {
    /// The list to sign after `old`.
    ///
    /// - Parameter old: `nil` for a realm without a list.
    /// - Parameter now: In Unix seconds.
    public static func next(
        after old: RevocationList?, in realm: Realm, revoking revocations: [Revocation],
        at now: Int64
    ) -> RevocationList {
        let old = old ?? RevocationList(realm: realm, number: 0, issuedAt: now, revocations: [])
        let number = old.number + 1
        var next = old.successor(number: number, issuedAt: max(now, old.issuedAt, number))
        for revocation in revocations { next.revoke(revocation) }
        return next
    }
}
