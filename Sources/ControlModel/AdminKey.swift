public import Cryptography
public import PacketFormats

/// The root says what a security admin's key may sign.
public struct AdminKey: Hashable, Sendable {
    public var key: VerifyingKey
    public var tenants: TenantScope
    public var roles: Set<Role>
    public var profiles: Set<TunnelProfile>
    public var ceiling: ClassCeiling
    /// The longest validity that a grant or a token of this key may have.
    public var grantSeconds: Int64
    public var mayRevoke: Bool
    public var validity: Validity

    public init(
        key: VerifyingKey, tenants: TenantScope, roles: Set<Role>, profiles: Set<TunnelProfile>,
        ceiling: ClassCeiling, grantSeconds: Int64, mayRevoke: Bool, validity: Validity
    ) {
        self.key = key
        self.tenants = tenants
        self.roles = roles
        self.profiles = profiles
        self.ceiling = ceiling
        self.grantSeconds = grantSeconds
        self.mayRevoke = mayRevoke
        self.validity = validity
    }
}

extension AdminKey {
    struct Claims: Codable {
        var v = TrustLimits.version
        var key: String
        /// Absent, with `allTenants` true: a list that lost its entries is not "all".
        var tenants: [String]?
        var allTenants: Bool?
        var roles: [String]
        var profiles: [String]
        var `class`: String
        var grantSeconds: Int64
        var mayRevoke: Bool
        var nbf: Int64
        var exp: Int64
    }

    init(_ claims: Claims) throws(Refusal) {
        key = try Claim.valid(VerifyingKey(base64URL: claims.key), "key")
        tenants = try TenantScope(claims)
        roles = try Claim.set(claims.roles, atMost: Role.allCases.count, "roles") {
            Role(rawValue: $0)
        }
        profiles = try Claim.set(
            claims.profiles, atMost: TunnelProfile.allCases.count, "profiles"
        ) { TunnelProfile(rawValue: $0) }
        ceiling = try Claim.valid(ClassCeiling(rawValue: claims.class), "class")
        grantSeconds = try Claim.integer(
            claims.grantSeconds, in: 1...TrustLimits.grantSecondsMax, "grantSeconds")
        mayRevoke = claims.mayRevoke
        validity = try Validity(nbf: claims.nbf, exp: claims.exp)
    }

    var claims: Claims {
        Claims(
            key: key.base64URL, tenants: tenants.texts, allTenants: tenants == .all ? true : nil,
            roles: roles.map(\.rawValue).sorted(), profiles: profiles.map(\.rawValue).sorted(),
            class: ceiling.rawValue, grantSeconds: grantSeconds, mayRevoke: mayRevoke,
            nbf: validity.from, exp: validity.until)
    }
}

extension TenantScope {
    fileprivate init(_ claims: AdminKey.Claims) throws(Refusal) {
        if let isAll = claims.allTenants {
            guard isAll else { throw Refusal(.invalidField, "allTenants") }
            self = .all
            return
        }
        let texts = try Claim.present(claims.tenants, "tenants")
        let tenants = try Claim.set(texts, atMost: TrustLimits.tenantsMax, "tenants") { Name($0) }
        guard !tenants.isEmpty else { throw Refusal(.invalidField, "tenants") }
        self = .only(tenants)
    }

    /// `nil` for all.
    fileprivate var texts: [String]? {
        switch self {
        case .all: nil
        case .only(let tenants): tenants.map(\.text).sorted()
        }
    }
}
