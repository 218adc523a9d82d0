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
    struct Claims: Codable {
        var v = TrustLimits.version
        var token: String
        var key: String
        var tenant: String
        var role: String
        var addresses: [String]
        var routes: [String]
        var groups: [String]
        var profiles: [String]
        var `class`: String
        var grantSeconds: Int64
        var approval: Bool
        var coordinator: String
        var serverPin: String?
        /// Written out, so that a verifier of a later version cannot take it for more.
        var uses: Int64 = 1
        var nbf: Int64
        var exp: Int64
    }

    init(_ claims: Claims) throws(Refusal) {
        id = try Claim.valid(TokenID(base64URL: claims.token), "token")
        key = try Claim.valid(VerifyingKey(base64URL: claims.key), "key")
        tenant = try Claim.valid(Name(claims.tenant), "tenant")
        role = try Claim.valid(Role(rawValue: claims.role), "role")
        addresses = try Claim.prefixes(
            claims.addresses, atMost: TrustLimits.addressesMax, "addresses")
        routes = try Claim.prefixes(claims.routes, atMost: TrustLimits.routesMax, "routes")
        groups = try Claim.set(claims.groups, atMost: TrustLimits.groupsMax, "groups") { Name($0) }
        profiles = try Claim.set(
            claims.profiles, atMost: TunnelProfile.allCases.count, "profiles"
        ) { TunnelProfile(rawValue: $0) }
        ceiling = try Claim.valid(ClassCeiling(rawValue: claims.class), "class")
        grantSeconds = try Claim.integer(
            claims.grantSeconds, in: 1...TrustLimits.grantSecondsMax, "grantSeconds")
        needsApproval = claims.approval
        guard Self.isCoordinator(claims.coordinator) else {
            throw Refusal(.invalidField, "coordinator")
        }
        coordinator = claims.coordinator
        if let pin = claims.serverPin {
            serverPin = try Claim.valid(ServerPin(base64URL: pin), "serverPin")
        }
        guard claims.uses == 1 else { throw Refusal(.invalidField, "uses") }
        validity = try Validity(nbf: claims.nbf, exp: claims.exp)
    }

    var claims: Claims {
        Claims(
            token: id.base64URL, key: key.base64URL, tenant: tenant.text, role: role.rawValue,
            addresses: addresses.map(\.description).sorted(),
            routes: routes.map(\.description).sorted(), groups: groups.map(\.text).sorted(),
            profiles: profiles.map(\.rawValue).sorted(), class: ceiling.rawValue,
            grantSeconds: grantSeconds, approval: needsApproval, coordinator: coordinator,
            serverPin: serverPin?.base64URL, nbf: validity.from, exp: validity.until)
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
