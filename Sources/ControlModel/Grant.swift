public import Cryptography
public import PacketFormats

/// What one node may be in one tenant; whoever holds its verified chain accepts it as a peer.
public struct Grant: Hashable, Sendable {
    /// Names the node: the public half of a key that is made on it and never leaves it.
    public var node: VerifyingKey
    /// Grows with every grant of this node in this tenant; at most `validity.from`, so that
    /// nobody can use the numbers up. The second of signing is a good choice.
    public var serial: Int64
    /// The WireGuard key, until the node rotates it.
    public var publicKey: PublicKey
    public var tenant: Name
    public var role: Role
    /// The node's own addresses in the tunnel.
    public var addresses: Set<IPPrefix>
    /// Networks behind the node.
    public var routes: Set<IPPrefix>
    public var groups: Set<Name>
    public var profile: TunnelProfile
    public var ceiling: ClassCeiling
    /// The enrolment token whose key signed this; `nil` where an admin did.
    public var token: TokenID?
    public var validity: Validity

    public init(
        node: VerifyingKey, serial: Int64, publicKey: PublicKey, tenant: Name, role: Role,
        addresses: Set<IPPrefix>, routes: Set<IPPrefix> = [], groups: Set<Name> = [],
        profile: TunnelProfile, ceiling: ClassCeiling, token: TokenID? = nil, validity: Validity
    ) {
        self.node = node
        self.serial = serial
        self.publicKey = publicKey
        self.tenant = tenant
        self.role = role
        self.addresses = addresses
        self.routes = routes
        self.groups = groups
        self.profile = profile
        self.ceiling = ceiling
        self.token = token
        self.validity = validity
    }
}

extension Grant {
    struct Claims: Codable {
        var v = TrustLimits.version
        var node: String
        var serial: Int64
        var publicKey: String
        var tenant: String
        var role: String
        var addresses: [String]
        var routes: [String]
        var groups: [String]
        var profile: String
        var `class`: String
        var token: String?
        var nbf: Int64
        var exp: Int64
    }

    /// - Parameter isJoin: Whether the type says that a token's key signed this.
    init(_ claims: Claims, isJoin: Bool) throws(Refusal) {
        node = try Claim.valid(VerifyingKey(base64URL: claims.node), "node")
        serial = try Claim.integer(claims.serial, in: 1...TrustLimits.integerMax, "serial")
        publicKey = try Claim.valid(PublicKey(base64: claims.publicKey), "publicKey")
        tenant = try Claim.valid(Name(claims.tenant), "tenant")
        role = try Claim.valid(Role(rawValue: claims.role), "role")
        addresses = try Claim.prefixes(
            claims.addresses, atMost: TrustLimits.addressesMax, "addresses")
        routes = try Claim.prefixes(claims.routes, atMost: TrustLimits.routesMax, "routes")
        groups = try Claim.set(claims.groups, atMost: TrustLimits.groupsMax, "groups") { Name($0) }
        profile = try Claim.valid(TunnelProfile(rawValue: claims.profile), "profile")
        ceiling = try Claim.valid(ClassCeiling(rawValue: claims.class), "class")
        if isJoin {
            let text = try Claim.present(claims.token, "token")
            token = try Claim.valid(TokenID(base64URL: text), "token")
        }
        validity = try Validity(nbf: claims.nbf, exp: claims.exp)
    }

    var claims: Claims {
        Claims(
            node: node.base64URL, serial: serial, publicKey: publicKey.base64,
            tenant: tenant.text, role: role.rawValue,
            addresses: addresses.map(\.description).sorted(),
            routes: routes.map(\.description).sorted(), groups: groups.map(\.text).sorted(),
            profile: profile.rawValue, class: ceiling.rawValue, token: token?.base64URL,
            nbf: validity.from, exp: validity.until)
    }
}
