/// All that is taken back in one tenant, or in the whole organisation.
///
/// Every list is complete, and replaces the one before it in its realm.
public struct RevocationList: Hashable, Sendable {
    /// Where the entries count. A list of one tenant never touches another, so an admin of one
    /// tenant can revoke a colleague's key for that tenant only.
    public enum Realm: Hashable, Sendable {
        case organisation
        case tenant(Name)
    }

    public var realm: Realm
    /// Grows with every list of this realm; at most `issuedAt`, so that nobody can use the
    /// numbers up.
    public var number: Int64
    /// In Unix seconds.
    public var issuedAt: Int64
    public private(set) var entries: [Revocation.Subject: Revocation]

    /// Of several revocations of one subject, the widest counts.
    public init(realm: Realm, number: Int64, issuedAt: Int64, revocations: [Revocation]) {
        self.realm = realm
        self.number = number
        self.issuedAt = issuedAt
        entries = [:]
        for revocation in revocations { revoke(revocation) }
    }

    /// Adds to the entries; never takes anything back.
    public mutating func revoke(_ revocation: Revocation) {
        guard var wider = entries[revocation.subject] else {
            entries[revocation.subject] = revocation
            return
        }
        wider.serial = wider.serial.map { max($0, revocation.serial ?? 0) }
        wider.until = max(wider.until, revocation.until)
        entries[revocation.subject] = wider
    }

    /// The next list: this one without what expired so long ago that every verifier agrees.
    public func successor(number: Int64, issuedAt: Int64) -> RevocationList {
        let limit = issuedAt - 2 * TrustLimits.skewSecondsMax
        return RevocationList(
            realm: realm, number: number, issuedAt: issuedAt,
            revocations: entries.values.filter { $0.until > limit })
    }
}

extension RevocationList {
    struct Claims: Codable {
        var v = TrustLimits.version
        /// Absent, with `organisation` true: a list that lost its tenant is not one for all.
        var tenant: String?
        var organisation: Bool?
        var number: Int64
        var iat: Int64
        var revoked: [Revocation.Claims]
    }

    init(_ claims: Claims) throws(Refusal) {
        realm = try Realm(claims)
        number = try Claim.integer(claims.number, in: 1...TrustLimits.integerMax, "number")
        issuedAt = try Claim.integer(claims.iat, in: 0...TrustLimits.timeMax, "iat")
        guard claims.revoked.count <= TrustLimits.revocationsMax else {
            throw Refusal(.invalidField, "revoked")
        }
        entries = [:]
        for claims in claims.revoked {
            let revocation = try Revocation(claims)
            guard entries.updateValue(revocation, forKey: revocation.subject) == nil else {
                throw Refusal(.invalidField, "revoked: a subject is listed twice")
            }
        }
    }

    var claims: Claims {
        var claims = Claims(
            number: number, iat: issuedAt,
            revoked: entries.values.map(\.claims).sorted { $0.order < $1.order })
        switch realm {
        case .organisation: claims.organisation = true
        case .tenant(let tenant): claims.tenant = tenant.text
        }
        return claims
    }
}

extension RevocationList.Realm {
    fileprivate init(_ claims: RevocationList.Claims) throws(Refusal) {
        guard let isAll = claims.organisation else {
            let tenant = try Claim.present(claims.tenant, "tenant")
            self = .tenant(try Claim.valid(Name(tenant), "tenant"))
            return
        }
        guard isAll else { throw Refusal(.invalidField, "organisation") }
        self = .organisation
    }
}
