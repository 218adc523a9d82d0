import PacketFormats

/// Which rules speak of a group, a service, a transport and its ports.
struct RuleNames: Sendable {
    private let rules: [AccessRules.Rule]
    private let from: [String: [Int]]
    private let to: [String: [Int]]

    init(_ all: AccessRules) {
        rules = all.rules
        var from: [String: [Int]] = [:]
        var to: [String: [Int]] = [:]
        for (index, rule) in rules.enumerated() {
            for name in Set(rule.from) { from[name, default: []].append(index) }
            for name in Set(rule.to) { to[name, default: []].append(index) }
        }
        self.from = from
        self.to = to
    }

    /// Rules that let it open connections.
    func sources(_ identity: AddressIdentity) -> RuleSet {
        guard let groups = identity.groups else { return RuleSet(ruleCount: rules.count) }
        return set(of: groups.union([AccessRules.anything]), in: from)
    }

    /// Rules that let others open connections to it.
    func destinations(_ identity: AddressIdentity) -> RuleSet {
        let names = (identity.groups ?? []).union(identity.services)
        return set(of: names.union([AccessRules.anything]), in: to)
    }

    private func set(of names: Set<String>, in places: [String: [Int]]) -> RuleSet {
        var set = RuleSet(ruleCount: rules.count)
        for name in names {
            for rule in places[name] ?? [] { set.insert(rule) }
        }
        return set
    }

    /// Rules for every port of a transport, and those for a transport without ports.
    func withoutPorts(_ transport: AccessRules.Transport) -> RuleSet {
        var set = RuleSet(ruleCount: rules.count)
        for (index, rule) in rules.enumerated()
        where rule.ports.isEmpty && (rule.transport ?? transport) == transport {
            set.insert(index)
        }
        return set
    }

    /// The rules for each port: intervals by their first port, ascending from 0.
    func portStarts(
        _ transport: AccessRules.Transport
    ) -> [(port: Int, rules: RuleSet)] {
        let all = withoutPorts(transport)
        var begins: [Int: [Int]] = [:]
        var ends: [Int: [Int]] = [:]
        for (index, rule) in rules.enumerated()
        where !rule.ports.isEmpty && (rule.transport ?? transport) == transport {
            for range in rule.ports {
                begins[Int(range.lowerBound), default: []].append(index)
                ends[Int(range.upperBound) + 1, default: []].append(index)
            }
        }
        // A rule may name a port more than once.
        var counts: [Int: Int] = [:]
        var starts = [(port: 0, rules: all)]
        for port in Set(begins.keys).union(ends.keys).sorted() where port <= Int(UInt16.max) {
            for rule in begins[port] ?? [] { counts[rule, default: 0] += 1 }
            for rule in ends[port] ?? [] {
                counts[rule, default: 0] -= 1
                if counts[rule] == 0 { counts[rule] = nil }
            }
            var set = all
            for rule in counts.keys { set.insert(rule) }
            if port == 0 { starts[0].rules = set } else { starts.append((port, set)) }
        }
        return starts
    }
}
