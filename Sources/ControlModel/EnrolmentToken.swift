public import Cryptography
public import PacketFormats

/// An admin lets one node sign one grant for itself, within these bounds.
///
/// Its key is made with the token, and its private half travels in the ``JoinText``.
public struct EnrolmentToken: Hashable, Sendable {
    public var id: TokenID
    /// Delegated: signs one node's grant and nothing else.
    public var key: VerifyingKey
    public var tenant: Name
    public var role: Role
    /// Networks that hold every address and every route that the node may claim.
    public var addresses: Set<IPPrefix>
    public var routes: Set<IPPrefix>
    /// Exactly the groups that the node will be in.
    public var groups: Set<Name>
    public var profiles: Set<TunnelProfile>
    public var ceiling: ClassCeiling
    /// The longest validity of the node's grant.
    public var grantSeconds: Int64
    /// Whether the node's grant is only a request, until an admin signs one.
    public var needsApproval: Bool
    /// `https:` and where the coordinator answers.
    public var coordinator: String
    /// Which server key to accept there; `nil` leaves it to public certificate authorities.
    public var serverPin: ServerPin?
    /// When the node may join.
    public var validity: Validity

    public init(
        id: TokenID, key: VerifyingKey, tenant: Name, role: Role, addresses: Set<IPPrefix>,
        routes: Set<IPPrefix> = [], groups: Set<Name> = [], profiles: Set<TunnelProfile>,
        ceiling: ClassCeiling, grantSeconds: Int64, needsApproval: Bool = false,
        coordinator: String, serverPin: ServerPin? = nil, validity: Validity
    ) {
        self.id = id
        self.key = key
        self.tenant = tenant
        self.role = role
        self.addresses = addresses
        self.routes = routes
        self.groups = groups
        self.profiles = profiles
        self.ceiling = ceiling
        self.grantSeconds = grantSeconds
        self.needsApproval = needsApproval
        self.coordinator = coordinator
        self.serverPin = serverPin
        self.validity = validity
    }

    /// After this second no grant under the token can count any more.
    var lastGrantUntil: Int64 { validity.until + grantSeconds }
}

extension EnrolmentToken {
    init(fields: inout FieldReader) throws(Refusal) {
        id = try fields.value("token") { TokenID(base64URL: $0) }
        key = try fields.value("key") { VerifyingKey(base64URL: $0) }
        tenant = try fields.value("tenant") { Name($0) }
        role = try fields.value("role") { Role(rawValue: $0) }
        addresses = try fields.prefixes("addresses", atMost: TrustLimits.addressesMax)
        routes = try fields.prefixes("routes", atMost: TrustLimits.routesMax)
        groups = try fields.set("groups", atMost: TrustLimits.groupsMax) { Name($0) }
        profiles = try fields.set("profiles", atMost: TunnelProfile.allCases.count) {
            TunnelProfile(rawValue: $0)
        }
        ceiling = try fields.value("class") { ClassCeiling(rawValue: $0) }
        grantSeconds = try fields.integer("grantSeconds", in: 1...TrustLimits.grantSecondsMax)
        needsApproval = try fields.flag("approval")
        coordinator = try fields.value("coordinator") { Self.isCoordinator($0) ? $0 : nil }
        serverPin = try fields.optional("serverPin") { ServerPin(base64URL: $0) }
        // Written out, so that a verifier of a later version cannot take it for more.
        _ = try fields.integer("uses", in: 1...1)
        validity = try Validity(fields: &fields)
    }

    func write(to object: inout JSONWriter) {
        object.add("token", id.base64URL)
        object.add("key", key.base64URL)
        object.add("tenant", tenant.text)
        object.add("role", role.rawValue)
        object.add("addresses", set: addresses.map(\.description))
        object.add("routes", set: routes.map(\.description))
        object.add("groups", set: groups.map(\.text))
        object.add("profiles", set: profiles.map(\.rawValue))
        object.add("class", ceiling.rawValue)
        object.add("grantSeconds", grantSeconds)
        object.add("approval", needsApproval)
        object.add("coordinator", coordinator)
        if let serverPin { object.add("serverPin", serverPin.base64URL) }
        object.add("uses", 1)
        validity.write(to: &object)
    }

    /// Coarse: whoever connects parses it with a real URL parser.
    private static func isCoordinator(_ text: String) -> Bool {
        let scheme = "https://"
        guard text.hasPrefix(scheme), text.utf8.count <= 255 else { return false }
        let rest = text.utf8.dropFirst(scheme.utf8.count)
        // No user, no query, no fragment: nothing that hides where the connection goes.
        let allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]/~"
        return rest.first.map { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") } ?? false
            && rest.allSatisfy(Set(allowed.utf8).contains)
    }
}

extension FieldReader {
    /// Networks in canonical text: no host bits, the length written.
    mutating func prefixes(_ name: String, atMost limit: Int) throws(Refusal) -> Set<IPPrefix> {
        try set(name, atMost: limit) { text in
            guard let prefix = IPPrefix(text), prefix.description == text else { return nil }
            return prefix
        }
    }
}
