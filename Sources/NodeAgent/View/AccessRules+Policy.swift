public import AccessControl
public import ControlModel
public import PacketFormats

extension AccessRules {
    /// The coordinator's policy over the networks of nodes that were verified.
    ///
    /// What a node does not understand lets nothing through: rules for unknown transports, with
    /// ports that are none, or beyond the limits are left out.
    ///
    /// - Parameter gateways: Addresses of gateways themselves. Every node may ask them whether they
    ///   are there, by ICMP, or branches would take them for dead.
    public init(policy: AccessPolicy, members: [Member], gateways: [IPPrefix] = []) {
        var all = Self(policy: policy, of: members)
        if !gateways.isEmpty {
            all.services.append(Service(name: Self.gatewaysName, destinations: gateways))
            all.rules.append(
                Rule(
                    name: Self.gatewayRuleName, from: [Self.anything], to: [Self.gatewaysName],
                    transport: .icmp, ports: []))
        }
        self = all
    }

    /// No name of a group or service, so that no policy speaks of it.
    private static let gatewaysName = "(gateways)"
    /// What status shows.
    static let gatewayRuleName = "(gateways answer pings)"

    private init(policy: AccessPolicy, of members: [Member]) {
        self.init(
            members: members,
            services: (policy.services ?? []).prefix(PolicyLimits.servicesMax).map { service in
                Service(
                    name: service.name,
                    destinations: service.destinations.prefix(PolicyLimits.destinationsMax)
                        .compactMap { IPPrefix($0) })
            },
            rules: policy.rules.prefix(PolicyLimits.rulesMax).compactMap(Rule.init))
    }
}

extension AccessRules.Rule {
    fileprivate init?(_ rule: AccessPolicy.Rule) {
        let transport: AccessRules.Transport?
        switch rule.transport {
        case "tcp": transport = .tcp
        case "udp": transport = .udp
        case "icmp": transport = .icmp
        case AccessPolicy.Rule.anything: transport = nil
        default: return nil
        }
        let ranges = rule.ranges
        guard ranges.count == rule.ports.count else { return nil }
        self.init(
            name: rule.name, from: rule.from, to: rule.to, transport: transport, ports: ranges)
    }
}

extension Grant {
    /// The grant's networks with its groups.
    public var accessMembers: [AccessRules.Member] {
        let names = Set(groups.map(\.text))
        return addresses.union(routes).sorted().map {
            AccessRules.Member(prefix: $0, groups: names)
        }
    }
}
