import AccessControl
import PacketFormats
import TestSupport

/// Rules over a few networks, read in the simplest way.
struct RuleModel {
    struct Connection {
        var source: String
        var destination: String
        var isTCP: Bool
        var port: UInt16
        /// Never used before, so that nothing is an answer.
        var sourcePort: UInt16

        var packet: [UInt8] {
            isTCP
                ? Packets.tcp(source, destination, sourcePort, port)
                : Packets.udp(source, destination, sourcePort, port)
        }
    }

    let rules: AccessRules

    init(using random: inout SeededGenerator) {
        let groups = (0..<6).map { "group\($0)" }
        func some(_ names: [String]) -> [String] {
            (0..<Int.random(in: 1...3, using: &random)).map { _ in
                random.chance(percent: 5) ? "*" : names.randomElement(using: &random)!
            }
        }
        func prefix() -> IPPrefix {
            let address = IPAddress(ipv4: 0x0a00_0000 | UInt32.random(in: 0..<4_096, using: &random))
            return IPPrefix(address, length: Int.random(in: 20...32, using: &random))!
        }
        var prefixes: Set<IPPrefix> = []
        while prefixes.count < 24 { prefixes.insert(prefix()) }
        let members = prefixes.sorted().map {
            AccessRules.Member(prefix: $0, groups: Set(some(groups)).subtracting(["*"]))
        }
        let services = (0..<4).map { number in
            AccessRules.Service(name: "service\(number)", destinations: [prefix(), prefix()])
        }
        let names = groups + services.map(\.name)
        let transports: [AccessRules.Transport?] = [.tcp, .udp, .icmp, nil]
        rules = AccessRules(
            members: members, services: services,
            rules: (0..<Int.random(in: 0...90, using: &random)).map { number in
                let transport = transports.randomElement(using: &random)!
                let hasPorts = transport == .tcp || transport == .udp
                let low = UInt16.random(in: 0...40, using: &random)
                return AccessRules.Rule(
                    name: "rule\(number)", from: some(groups), to: some(names),
                    transport: transport,
                    ports: hasPorts && random.chance(percent: 80)
                        ? [low...low + UInt16.random(in: 0...5, using: &random), 50...50] : [])
            })
    }

    func connection(using random: inout SeededGenerator) -> Connection {
        func address() -> String {
            IPAddress(ipv4: 0x0a00_0000 | UInt32.random(in: 0..<4_096, using: &random)).description
        }
        return Connection(
            source: address(), destination: address(), isTCP: random.chance(percent: 50),
            port: UInt16.random(in: 0...55, using: &random),
            sourcePort: UInt16.random(in: 1_000...60_000, using: &random))
    }

    func allows(_ connection: Connection) -> Bool {
        let source = IPAddress(connection.source)!, destination = IPAddress(connection.destination)!
        guard let from = groups(of: source) else { return false }
        let to = groups(of: destination)
        let services = services(of: destination)
        guard to != nil || !services.isEmpty else { return false }
        let targets = (to ?? []).union(services)
        return rules.rules.contains { rule in
            let transport: AccessRules.Transport = connection.isTCP ? .tcp : .udp
            return rule.from.contains { $0 == "*" || from.contains($0) }
                && rule.to.contains { $0 == "*" || targets.contains($0) }
                && (rule.transport == nil || rule.transport == transport)
                && (rule.ports.isEmpty || rule.ports.contains { $0.contains(connection.port) })
        }
    }

    private func groups(of address: IPAddress) -> Set<String>? {
        rules.members.filter { $0.prefix.contains(address) }
            .max { $0.prefix.length < $1.prefix.length }?.groups
    }

    private func services(of address: IPAddress) -> Set<String> {
        Set(rules.services.filter { $0.destinations.contains { $0.contains(address) } }
            .map(\.name))
    }
}
