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
    init(fields: inout FieldReader) throws(Refusal) {
        realm = try Realm(fields: &fields)
        number = try fields.integer("number", in: 1...TrustLimits.integerMax)
        issuedAt = try fields.integer("iat", in: 0...TrustLimits.timeMax)
        entries = [:]
        for value in try fields.objects("revoked", atMost: TrustLimits.revocationsMax) {
            var fields = try FieldReader(value)
            let revocation = try Revocation(fields: &fields)
            try fields.finish()
            guard entries.updateValue(revocation, forKey: revocation.subject) == nil else {
                throw Refusal(.invalidField, "revoked: a subject is listed twice")
            }
        }
    }

    func write(to object: inout JSONWriter) {
        realm.write(to: &object)
        object.add("number", number)
        object.add("iat", issuedAt)
        let writers = entries.values.map { revocation in
            var writer = JSONWriter()
            revocation.write(to: &writer)
            return writer
        }
        object.add("revoked", objects: writers.sorted { $0.text < $1.text })
    }
}

extension RevocationList.Realm {
    /// `"tenant":…`, or `"organisation":true`: a list that lost its tenant is not one for all.
    fileprivate init(fields: inout FieldReader) throws(Refusal) {
        guard fields.has("organisation") else {
            self = .tenant(try fields.value("tenant") { Name($0) })
            return
        }
        guard try fields.flag("organisation") else {
            throw Refusal(.invalidField, "organisation")
        }
        self = .organisation
    }

    fileprivate func write(to object: inout JSONWriter) {
        switch self {
        case .organisation: object.add("organisation", true)
        case .tenant(let tenant): object.add("tenant", tenant.text)
        }
    }
}
