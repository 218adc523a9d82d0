public import Cryptography

/// The newest revocation list of every realm that a verifier has seen.
public struct Revocations: Hashable, Sendable {
    private struct Held: Hashable, Sendable {
        var list: RevocationList
        var signature: Signature
        var text: String
    }

    private var held: [RevocationList.Realm: Held] = [:]

    public init() {}

    public func list(of realm: RevocationList.Realm) -> RevocationList? { held[realm]?.list }

    /// The signed lists, to keep on disk.
    public var texts: [String] { held.values.map(\.text).sorted() }

    /// How old the list of `realm` is; `nil` where there is none.
    public func ageSeconds(of realm: RevocationList.Realm, at now: Int64) -> Int64? {
        held[realm].map { max(now - $0.list.issuedAt, 0) }
    }

    /// How old the newest list is that concerns `tenant`; `nil` where there is none.
    public func ageSeconds(for tenant: Name, at now: Int64) -> Int64? {
        realms(of: tenant).compactMap { ageSeconds(of: $0, at: now) }.min()
    }

    /// Takes back a list from the verifier's own storage: it was verified when it was accepted,
    /// and stays in force though its signer's key may have expired since.
    public mutating func restore(_ text: String) throws(Refusal) {
        let envelope = try Envelope(parsing: text)
        guard envelope.isSigned else { throw Refusal(.signatureInvalid) }
        guard case .revocations(let list) = try Statement(
            kind: envelope.kind, payload: envelope.payload)
        else { throw Refusal(.wrongType, envelope.kind.rawValue) }
        held[list.realm] = Held(list: list, signature: envelope.signature, text: text)
    }

    /// Replaces the realm's list by a newer one, whose signer was verified.
    ///
    /// An entry stays until what it revokes has expired: a stolen key cannot give back what was
    /// taken. The root may, to undo what a stolen key revoked.
    mutating func accept(
        _ list: RevocationList, signature: Signature, text: String, isByRoot: Bool, at now: Int64,
        skewSeconds: Int64
    ) throws(Refusal) {
        guard list.issuedAt <= now + skewSeconds else {
            throw Refusal(.notYetValid, "revocation list of \(list.issuedAt), it is \(now)")
        }
        guard list.number <= list.issuedAt else {
            throw Refusal(.numberAhead, "list \(list.number) of \(list.issuedAt)")
        }
        if let old = held[list.realm] {
            guard list.number >= old.list.number else {
                throw Refusal(
                    .revocationListBackwards, "\(list.number) after \(old.list.number)")
            }
            if list.number == old.list.number {
                guard signature == old.signature else {
                    throw Refusal(.revocationListConflict, "two lists \(list.number)")
                }
                return
            }
            if !isByRoot { try checkGrowth(from: old.list, to: list, now: now, skew: skewSeconds) }
        }
        held[list.realm] = Held(list: list, signature: signature, text: text)
    }

    func revocation(of subject: Revocation.Subject, in tenant: Name?) -> Revocation? {
        for realm in realms(of: tenant) {
            if let revocation = held[realm]?.list.entries[subject] { return revocation }
        }
        return nil
    }

    /// The grants of a node are revoked up to the highest serial of either realm; 0 for none.
    public func revokedSerial(of node: VerifyingKey, in tenant: Name) -> Int64 {
        realms(of: tenant).compactMap { held[$0]?.list.entries[.node(node)]?.serial }.max() ?? 0
    }

    func check(_ admin: AdminKey, in tenant: Name?) throws(Refusal) {
        guard revocation(of: .admin(admin.key), in: tenant) == nil else {
            throw Refusal(.adminRevoked, "\(admin.key)")
        }
    }

    func check(_ token: EnrolmentToken, in tenant: Name?) throws(Refusal) {
        guard revocation(of: .token(token.id), in: tenant) == nil else {
            throw Refusal(.tokenRevoked, "\(token.id)")
        }
    }

    /// - Parameter publicKey: The WireGuard key in use under the grant.
    func check(_ grant: Grant, publicKey: PublicKey) throws(Refusal) {
        let serial = revokedSerial(of: grant.node, in: grant.tenant)
        guard grant.serial > serial else {
            throw Refusal(.nodeRevoked, "\(grant.node) up to \(serial)")
        }
        guard revocation(of: .publicKey(publicKey), in: grant.tenant) == nil else {
            throw Refusal(.keyRevoked, "\(publicKey)")
        }
    }

    private func checkGrowth(
        from old: RevocationList, to list: RevocationList, now: Int64, skew: Int64
    ) throws(Refusal) {
        for entry in old.entries.values where now < entry.until + skew {
            guard let kept = list.entries[entry.subject], kept.covers(entry) else {
                throw Refusal(.revocationListShrunk, "list \(list.number) gives back an entry")
            }
        }
    }

    private func realms(of tenant: Name?) -> [RevocationList.Realm] {
        tenant.map { [.organisation, .tenant($0)] } ?? [.organisation]
    }
}
