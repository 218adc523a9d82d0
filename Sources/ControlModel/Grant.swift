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
    /// - Parameter isJoin: Whether the type says that a token's key signed this.
    init(fields: inout FieldReader, isJoin: Bool) throws(Refusal) {
        node = try fields.value("node") { VerifyingKey(base64URL: $0) }
        serial = try fields.integer("serial", in: 1...TrustLimits.integerMax)
        publicKey = try fields.value("publicKey") { PublicKey(base64: $0) }
        tenant = try fields.value("tenant") { Name($0) }
        role = try fields.value("role") { Role(rawValue: $0) }
        addresses = try fields.prefixes("addresses", atMost: TrustLimits.addressesMax)
        routes = try fields.prefixes("routes", atMost: TrustLimits.routesMax)
        groups = try fields.set("groups", atMost: TrustLimits.groupsMax) { Name($0) }
        profile = try fields.value("profile") { TunnelProfile(rawValue: $0) }
        ceiling = try fields.value("class") { ClassCeiling(rawValue: $0) }
        token = isJoin ? try fields.value("token") { TokenID(base64URL: $0) } : nil
        validity = try Validity(fields: &fields)
    }

    func write(to object: inout JSONWriter) {
        object.add("node", node.base64URL)
        object.add("serial", serial)
        object.add("publicKey", publicKey.base64)
        object.add("tenant", tenant.text)
        object.add("role", role.rawValue)
        object.add("addresses", set: addresses.map(\.description))
        object.add("routes", set: routes.map(\.description))
        object.add("groups", set: groups.map(\.text))
        object.add("profile", profile.rawValue)
        object.add("class", ceiling.rawValue)
        if let token { object.add("token", token.base64URL) }
        validity.write(to: &object)
    }
}
