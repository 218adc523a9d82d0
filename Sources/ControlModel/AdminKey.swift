public import Cryptography

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
    init(fields: inout FieldReader) throws(Refusal) {
        key = try fields.value("key") { VerifyingKey(base64URL: $0) }
        tenants = try TenantScope(fields: &fields)
        roles = try fields.set("roles", atMost: Role.allCases.count) { Role(rawValue: $0) }
        profiles = try fields.set("profiles", atMost: TunnelProfile.allCases.count) {
            TunnelProfile(rawValue: $0)
        }
        ceiling = try fields.value("class") { ClassCeiling(rawValue: $0) }
        grantSeconds = try fields.integer("grantSeconds", in: 1...TrustLimits.grantSecondsMax)
        mayRevoke = try fields.flag("mayRevoke")
        validity = try Validity(fields: &fields)
    }

    func write(to object: inout JSONWriter) {
        object.add("key", key.base64URL)
        tenants.write(to: &object)
        object.add("roles", set: roles.map(\.rawValue))
        object.add("profiles", set: profiles.map(\.rawValue))
        object.add("class", ceiling.rawValue)
        object.add("grantSeconds", grantSeconds)
        object.add("mayRevoke", mayRevoke)
        validity.write(to: &object)
    }
}

extension TenantScope {
    /// `"tenants":[…]`, or `"allTenants":true`: a list that lost its entries is not "all".
    fileprivate init(fields: inout FieldReader) throws(Refusal) {
        if fields.has("allTenants") {
            guard try fields.flag("allTenants") else { throw Refusal(.invalidField, "allTenants") }
            self = .all
            return
        }
        let tenants = try fields.set("tenants", atMost: TrustLimits.tenantsMax) { Name($0) }
        guard !tenants.isEmpty else { throw Refusal(.invalidField, "tenants") }
        self = .only(tenants)
    }

    fileprivate func write(to object: inout JSONWriter) {
        switch self {
        case .all: object.add("allTenants", true)
        case .only(let tenants): object.add("tenants", set: tenants.map(\.text))
        }
    }
}
