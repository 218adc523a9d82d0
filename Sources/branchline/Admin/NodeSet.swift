import ArgumentParser
import ControlModel
import PacketFormats

struct NodeSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Say which gateway others prefer, and how they learn that it works.",
        discussion: """
            Where several gateways carry the same networks, new flows go to the lowest priority \
            number among those that work, and by weight among equals; weight 0 drains a gateway. \
            A gateway works while its health targets answer through it; the policy must let the \
            branches ask them. For example:

              branchline node set hq-1 --priority 10 --health tcp:10.0.0.5:443
              branchline node set hq-2 --priority 20 --weight 3
            """)

    @Argument(
        help: "The gateway's name, its key, or at least 6 first characters of its key.",
        transform: KeyText.read)
    var node: String

    @Option(help: "0 to 65535, lower ones first; 100 where nothing was said.")
    var priority: Int64?

    @Option(help: "0 to 1000: the share among gateways of one priority; 1 where nothing was said.")
    var weight: Int64?

    @Option(
        help: ArgumentHelp(
            "What must answer through the gateway, in place of those before; may be repeated.",
            valueName: "icmp:ADDRESS|tcp:ADDRESS:PORT"))
    var health: [String] = []

    @Flag(help: "Ask the gateway itself, and nothing behind it.")
    var noHealth = false

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard priority != nil || weight != nil || !health.isEmpty || noHealth else {
            throw ValidationError("give --priority, --weight, --health or --no-health")
        }
        guard health.isEmpty || !noHealth else {
            throw ValidationError("--health and --no-health contradict each other")
        }
    }

    func run() async throws {
        let change = CoordinatorAPI.NodeChange(
            priority: try Self.checked(priority, GatewayPreference.priorities, "priority"),
            weight: try Self.checked(weight, GatewayPreference.weights, "weight"),
            health: health.isEmpty ? (noHealth ? [] : nil) : try Self.targets(health))
        let node = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(self.node, self.tenant) {
                AdminSession.isAlive($0) && $0.role == Role.gateway.rawValue
            }
            guard node.role == Role.gateway.rawValue else {
                throw Failure.badInput(
                    "\(node.name) is a \(node.role); only gateways are preferred to each other")
            }
            try Self.note(change.health ?? [], outside: node)
            let changed = try await session.change(node, of: tenant, change)
            if let health = change.health, !health.isEmpty {
                try await Self.warn(session, tenant, of: changed)
            }
            return changed
        }
        try output.print(node) { Text.plain("\(node.name): \(node.preferenceText)\n") }
    }

    private static func warn(
        _ session: AdminSession, _ tenant: Name, of gateway: CoordinatorAPI.Node
    ) async throws {
        let stored = try await session.policy(tenant)
        guard stored.revision > 0 else { return }
        let all: [CoordinatorAPI.Node] = try await session.all("/v1/tenants/\(tenant)/nodes")
        let nodes = all.filter { $0.role != Role.gateway.rawValue || $0.node == gateway.node }
        HealthAccess(policy: stored.policy, nodes: nodes).warnings.forEach(Console.error)
    }

    private static func checked(
        _ number: Int64?, _ range: ClosedRange<Int64>, _ what: String
    ) throws -> Int64? {
        guard let number, !range.contains(number) else { return number }
        throw Failure.badInput("--\(what) is \(range.lowerBound) to \(range.upperBound)")
    }

    private static func targets(_ texts: [String]) throws -> [String] {
        guard texts.count <= GatewayPreference.targetsMax else {
            throw Failure.badInput(
                "a gateway has at most \(GatewayPreference.targetsMax) health targets")
        }
        return try texts.map { text in
            guard let target = HealthTarget(text) else {
                throw Failure.badInput(
                    "\(text) is no health target; give icmp:ADDRESS or tcp:ADDRESS:PORT, such as "
                        + "tcp:10.0.0.5:443")
            }
            return target.description
        }
    }

    /// Nodes ask nothing through a gateway that it does not carry.
    private static func note(_ targets: [String], outside node: CoordinatorAPI.Node) throws {
        let carried = (node.addresses + node.routes).compactMap { IPPrefix($0) }
        for text in targets {
            guard let target = HealthTarget(text),
                !carried.contains(where: { $0.contains(target.address) })
            else { continue }
            let networks = node.routes.isEmpty ? node.addresses : node.routes
            throw Failure.badInput(
                "\(target.address) is in none of the networks behind \(node.name), so nobody "
                    + "would reach it there: choose an address in "
                    + networks.joined(separator: ", "))
        }
    }
}

extension CoordinatorAPI.Node {
    fileprivate var preferenceText: String {
        preference.map { "\($0) \($1)" }.joined(separator: ", ")
    }
}
