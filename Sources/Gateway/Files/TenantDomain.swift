public import EgressScheduling
public import WireGuardConfiguration
import ControlModel
import LinuxNetworking
import PacketFormats

/// One tenant of a gateway, as its file has it.
///
/// Reading refuses what is malformed; ``fault()`` says what is wrong with the whole.
public struct TenantDomain: Hashable, Sendable {
    /// Where a tenant's interface and routes are.
    public enum Place: Hashable, Sendable {
        /// A network namespace, by its name in /run/netns or by a path. It is made where missing.
        case namespace(String)
        /// A routing table of the host, chosen for what comes in by the interface.
        case table(UInt32)
        /// A VRF device of the host.
        case vrf(String)
        /// The host's own main table.
        case host
    }

    /// The file's name without `.json`.
    public var tenant: String
    public var interface: String
    public var place: Place
    /// Each as `10.0.0.1/24`. A membership brings its own; a configuration file may.
    public var addresses: [AddressSetting]
    /// Path of a WireGuard file with the keys and peers.
    public var configuration: String?
    /// Path of a membership that `branchline join` made.
    public var membership: String?
    public var limits: TenantLimits
    /// Path of a program that is told when branches come and go.
    public var routeHook: String?
    /// Path of a local QoS policy.
    public var qos: String?

    public init(
        tenant: String, interface: String, place: Place, addresses: [AddressSetting] = [],
        configuration: String? = nil, membership: String? = nil,
        limits: TenantLimits = TenantLimits(), routeHook: String? = nil, qos: String? = nil
    ) {
        self.tenant = tenant
        self.interface = interface
        self.place = place
        self.addresses = addresses
        self.configuration = configuration
        self.membership = membership
        self.limits = limits
        self.routeHook = routeHook
        self.qos = qos
    }

    /// Whether two definitions can follow one another without an interruption.
    public func differsInPlace(from other: TenantDomain) -> Bool {
        (interface, place, membership) != (other.interface, other.place, other.membership)
            || (configuration == nil) != (other.configuration == nil)
            // An agent keeps those that it began with.
            || (membership != nil
                && (routeHook != other.routeHook || qos != other.qos
                    || limits.flowsMax != other.limits.flowsMax))
    }
}

extension TenantDomain.Place {
    /// Of a namespace: `/run/netns/acme` and `acme` are the same.
    var namespaceName: String? {
        guard case .namespace(let name) = self else { return nil }
        for folder in ["/run/netns/", "/var/run/netns/"] where name.hasPrefix(folder) {
            return String(name.dropFirst(folder.count))
        }
        return name
    }
}

extension TenantDomain.Place: CustomStringConvertible {
    public var description: String {
        switch self {
        case .namespace(let name): "namespace \(name)"
        case .table(let number): "table \(number)"
        case .vrf(let device): "VRF \(device)"
        case .host: "host"
        }
    }
}

// MARK: - Checks

extension TenantDomain {
    /// Says what is wrong with the definition by itself; `nil` where nothing is.
    public func fault() -> TenantFault? {
        if let reason = Self.nameFault(tenant) { return TenantFault(.invalidValue, reason) }
        if let reason = InterfaceName.fault(in: interface) {
            return TenantFault(
                .invalidValue, "\"\(interface)\" cannot name an interface: \(reason)")
        }
        if let reason = place.fault { return TenantFault(.invalidValue, reason) }
        for path in [configuration, membership, routeHook, qos].compactMap({ $0 })
        where !path.hasPrefix("/") || path.contains("\0") {
            return TenantFault(.invalidValue, "\"\(path)\" is not a path from the root")
        }
        if configuration != nil && membership != nil {
            return TenantFault(
                .contradictingSources,
                "it has a configuration and a membership, and keys can come from one only; take "
                    + "one of them out")
        }
        if addresses.isEmpty && configuration == nil && membership == nil {
            return .noAddresses(of: self)
        }
        if let fault = Self.addressFault(addresses) { return fault }
        if let words = limits.fault() {
            return TenantFault(.contradictingLimits, "its limits contradict: \(words)")
        }
        return nil
    }

    /// Says what is wrong with addresses of one interface.
    static func addressFault(_ addresses: [AddressSetting]) -> TenantFault? {
        var seen: Set<IPAddress> = []
        for setting in addresses {
            guard isAssignable(setting.address) else {
                return TenantFault(
                    .invalidValue, "\(setting) is no address that an interface can have")
            }
            guard seen.insert(setting.address).inserted else {
                return TenantFault(.duplicateAddresses, "the address \(setting.address) is twice")
            }
        }
        return nil
    }

    /// - Returns: Why a tenant cannot have that name.
    public static func nameFault(_ name: String) -> String? {
        guard Name(name) != nil else {
            return "\"\(name)\" cannot name a tenant: 1 to 63 of a-z, 0-9 and hyphens inside"
        }
        return GatewayFolder.reservedNames.contains(name)
            ? "\"\(name)\" cannot name a tenant: the gateway has a file of that name" : nil
    }

    private static func isAssignable(_ address: IPAddress) -> Bool {
        let refused = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8"]
        return !refused.compactMap { IPPrefix($0) }.contains { $0.contains(address) }
    }
}

extension TenantFault {
    static func noAddresses(of domain: TenantDomain) -> TenantFault {
        TenantFault(
            .noAddresses,
            "\(domain.tenant) has no addresses, so nothing could reach \(domain.interface); give "
                + "\"addresses\", such as [\"10.0.0.1/24\"]")
    }
}

extension TenantDomain.Place {
    /// What is wrong with it; `nil` where nothing is.
    var fault: String? {
        switch self {
        case .namespace(let name): Self.namespaceFault(name)
        case .table(let number):
            number == 0 || (253...255).contains(number)
                ? "table \(number) is the system's own; choose one from 1 to 252, or above 255"
                : nil
        case .vrf(let device):
            InterfaceName.fault(in: device).map { "\"\(device)\" cannot name a VRF: \($0)" }
        case .host: nil
        }
    }

    private static func namespaceFault(_ name: String) -> String? {
        if name.hasPrefix("/") {
            return name.contains("\0") ? "\"\(name)\" is not a path" : nil
        }
        return NamespaceName.fault(in: name).map {
            "\"\(name)\" cannot name a network namespace: \($0)"
        }
    }
}

// MARK: - JSON

extension TenantDomain: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case tenant, interface, place, addresses, configuration, membership, limits, routeHook
        case qos
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseUnknownMembers(besides: CodingKeys.self)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        tenant = try values.decode(String.self, forKey: .tenant)
        interface = try values.decode(String.self, forKey: .interface)
        place = try values.decode(Place.self, forKey: .place)
        addresses = try (values.decodeIfPresent([String].self, forKey: .addresses) ?? []).map {
            guard let address = AddressSetting($0) else {
                throw TenantFault(
                    .invalidValue, "\"\($0)\" is not an address such as 10.0.0.1/24")
            }
            return address
        }
        configuration = try values.decodeIfPresent(String.self, forKey: .configuration)
        membership = try values.decodeIfPresent(String.self, forKey: .membership)
        if values.contains(.limits) {
            try values.superDecoder(forKey: .limits)
                .refuseUnknownMembers(besides: TenantLimits.CodingKeys.self)
        }
        limits = try values.decodeIfPresent(TenantLimits.self, forKey: .limits) ?? TenantLimits()
        routeHook = try values.decodeIfPresent(String.self, forKey: .routeHook)
        qos = try values.decodeIfPresent(String.self, forKey: .qos)
    }

    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(tenant, forKey: .tenant)
        try values.encode(interface, forKey: .interface)
        try values.encode(place, forKey: .place)
        if !addresses.isEmpty {
            try values.encode(addresses.map(\.description), forKey: .addresses)
        }
        try values.encodeIfPresent(configuration, forKey: .configuration)
        try values.encodeIfPresent(membership, forKey: .membership)
        if limits != TenantLimits() { try values.encode(limits, forKey: .limits) }
        try values.encodeIfPresent(routeHook, forKey: .routeHook)
        try values.encodeIfPresent(qos, forKey: .qos)
    }
}

extension TenantDomain.Place: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case namespace, table, vrf, host
    }

    public init(from decoder: any Decoder) throws {
        try decoder.refuseUnknownMembers(besides: CodingKeys.self)
        let values = try decoder.container(keyedBy: CodingKeys.self)
        guard values.allKeys.count == 1, let key = values.allKeys.first else {
            throw TenantFault(
                .invalidValue,
                "\"place\" names exactly one of namespace, table, vrf and \"host\": true")
        }
        switch key {
        case .namespace: self = .namespace(try values.decode(String.self, forKey: key))
        case .table: self = .table(UInt32(clamping: try values.decode(Int64.self, forKey: key)))
        case .vrf: self = .vrf(try values.decode(String.self, forKey: key))
        case .host:
            guard try values.decode(Bool.self, forKey: key) else {
                throw TenantFault(.invalidValue, "\"host\" can only be true")
            }
            self = .host
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .namespace(let name): try values.encode(name, forKey: .namespace)
        case .table(let number): try values.encode(number, forKey: .table)
        case .vrf(let device): try values.encode(device, forKey: .vrf)
        case .host: try values.encode(true, forKey: .host)
        }
    }
}
