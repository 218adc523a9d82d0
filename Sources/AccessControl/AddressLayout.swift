import PacketFormats

/// Who an address is: groups of the node that it belongs to, and services that it is part of.
struct AddressIdentity: Hashable {
    /// `nil` for an address of no member.
    var groups: Set<String>?
    var services: Set<String> = []
}

/// The identity of the addresses right inside of each network that rules know.
struct AddressLayout {
    private(set) var identities: [(prefix: IPPrefix, identity: AddressIdentity)] = []

    init(_ rules: AccessRules) {
        var groups: [IPPrefix: Set<String>] = [:]
        for member in rules.members {
            // Two gateways may carry one network: it has the rights that both have.
            groups[member.prefix] =
                groups[member.prefix]?.intersection(member.groups) ?? member.groups
        }
        var services: [IPPrefix: Set<String>] = [:]
        for service in rules.services {
            for prefix in service.destinations {
                services[prefix, default: []].insert(service.name)
            }
        }
        // Enclosing networks come first: sorted by address, then by length.
        var enclosing: [(prefix: IPPrefix, identity: AddressIdentity)] = []
        for prefix in Set(groups.keys).union(services.keys).sorted() {
            while let outer = enclosing.last, !outer.prefix.holds(prefix) {
                enclosing.removeLast()
            }
            var identity = enclosing.last?.identity ?? AddressIdentity()
            if let groups = groups[prefix] { identity.groups = groups }
            if let services = services[prefix] { identity.services.formUnion(services) }
            enclosing.append((prefix, identity))
            identities.append((prefix, identity))
        }
    }
}
