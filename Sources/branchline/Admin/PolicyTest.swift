import AccessControl
import ArgumentParser
import ControlModel
import CoordinatorClient
import NodeAgent
import PacketFormats

/// Asks the rules, compiled as nodes compile them.
struct PolicyTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test",
        abstract: "Ask whether one may reach another, and by which rule.",
        discussion: """
            Both are a group, a service (only as TO), a node or an address. The exit code is 0 \
            where it is allowed and 1 where it is denied. The answer comes from the rules as \
            nodes compile them. With --file the rules of a file are asked instead, without the \
            coordinator, and both are groups or services that the file's rules, tests or services \
            name. For example:

              branchline policy test plants models 443 --tenant acme
              branchline policy test plant-berlin 10.9.0.5 53 --transport udp --tenant acme
              branchline policy test plants models icmp --tenant acme
            """)

    @Argument(help: "Who connects.")
    var from: String

    @Argument(help: "Who is connected to.")
    var to: String

    @Argument(help: "The port; or tcp or udp and the port; or icmp.")
    var what: String

    @Argument(help: ArgumentHelp("The port, after tcp or udp.", valueName: "port"))
    var portAfterTransport: UInt16?

    @Option(help: "tcp or udp: of the port. (default: tcp)")
    var transport: String?

    @Option(help: "Ask the policy in this file.", completion: .file())
    var file: String?

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    /// What is printed.
    struct Answer: Codable {
        var allowed: Bool
        /// The rule that allows it.
        var rule: String?
        /// Where none does: the first that speaks of these two, with other ports or transports.
        var nearestRule: String?
    }

    func validate() throws { _ = try question() }

    private func question() throws -> (AccessRules.Transport, port: UInt16) {
        let transports: [String: AccessRules.Transport] = ["tcp": .tcp, "udp": .udp]
        func named(_ text: String) throws -> AccessRules.Transport {
            guard let transport = transports[text] else {
                throw ValidationError("\(text) is not a transport: tcp, udp or icmp")
            }
            return transport
        }
        if let port = UInt16(what) {
            guard portAfterTransport == nil else {
                throw ValidationError("one port is enough")
            }
            return (try named(transport ?? "tcp"), port)
        }
        guard transport == nil else {
            throw ValidationError("\(what) is not a port: give one with --transport")
        }
        if what == "icmp" {
            guard portAfterTransport == nil else { throw ValidationError("icmp has no ports") }
            return (.icmp, 0)
        }
        let transport = try named(what)
        guard let portAfterTransport else { throw ValidationError("\(what) needs a port") }
        return (transport, portAfterTransport)
    }

    func run() async throws {
        let (transport, port) = try question()
        let filter: AccessFilter?
        let source: AccessSide, destination: AccessSide
        if let file {
            let policy = try PolicyFile.read(file)
            let sides = PolicySides(groups: policy.groups, services: policy.serviceNames)
            source = try sides.offlineSide(from, of: file, isSource: true)
            destination = try sides.offlineSide(to, of: file, isSource: false)
            filter = Self.filter(AccessRules(policy: policy, members: []))
        } else {
            (filter, source, destination) = try await AdminSession.run { session in
                try await Self.ask(session, try await session.tenant(tenant), from, to)
            }
        }
        let decision = filter?.decide(from: source, to: destination, transport, port: port)
        let isAllowed = decision?.isAllowed ?? true
        let rule = decision.flatMap { filter?.name(ofRule: $0.rule) }
        let answer = Answer(
            allowed: isAllowed, rule: isAllowed ? rule : nil, nearestRule: isAllowed ? nil : rule)
        try output.print(answer) { Self.text(answer) }
        if !answer.allowed { throw ExitCode(1) }
    }

    private static func text(_ answer: Answer) -> String {
        if answer.allowed {
            return answer.rule.map { "allowed by the rule \(Text.line($0))\n" }
                ?? "allowed: without a policy everything is\n"
        }
        return answer.nearestRule.map {
            "denied: no rule allows it; nearest: \(Text.line($0)), for other ports or transports\n"
        } ?? "denied: no rule allows it, and none speaks of these two\n"
    }

    private static func ask(
        _ session: AdminSession, _ tenant: Name, _ from: String, _ to: String
    ) async throws -> (AccessFilter?, AccessSide, AccessSide) {
        let policy = try await session.policy(tenant)
        let groups: [CoordinatorAPI.Group] = try await session.all("/v1/tenants/\(tenant)/groups")
        let services = policy.policy.serviceNames
        var sides = PolicySides(groups: Set(groups.map(\.name)), services: services)
        if !sides.isName(from) || !sides.isName(to) {
            sides.nodes = try await session.all("/v1/tenants/\(tenant)/nodes")
        }
        let rules = AccessRules(
            policy: policy.policy, members: sides.members, gateways: sides.gateways)
        return (
            policy.revision > 0 ? filter(rules) : nil,
            try sides.side(from, of: tenant, isSource: true),
            try sides.side(to, of: tenant, isSource: false)
        )
    }

    static func filter(_ rules: AccessRules) -> AccessFilter {
        // Nothing is remembered: questions make no state.
        AccessFilter(rules, state: AccessState(capacity: 0, key: (0, 0), now: 0))
    }
}

/// Who can be asked about.
struct PolicySides {
    let groups: Set<String>
    let services: Set<String>
    /// Asked for only where somebody is neither group nor service.
    var nodes: [CoordinatorAPI.Node] = []

    func isName(_ text: String) -> Bool { groups.contains(text) || services.contains(text) }

    /// Networks of the nodes that others accept.
    var members: [AccessRules.Member] {
        nodes.filter { $0.state == .active }.flatMap { node in
            (node.addresses + node.routes).compactMap { IPPrefix($0) }.map {
                AccessRules.Member(prefix: $0, groups: Set(node.groups))
            }
        }
    }

    var gateways: [IPPrefix] {
        nodes.filter { $0.state == .active && $0.role == Role.gateway.rawValue }
            .flatMap(\.addresses).compactMap { IPPrefix($0) }
    }

    /// - Returns: `nil` for what is neither.
    private func groupOrService(_ text: String, isSource: Bool) throws -> AccessSide? {
        if groups.contains(text) { return .groups([text]) }
        guard services.contains(text) else { return nil }
        guard !isSource else {
            throw Failure.badInput("\(text) is a service, and services open no connections")
        }
        return .service(text)
    }

    func offlineSide(_ text: String, of file: String, isSource: Bool) throws -> AccessSide {
        if let side = try groupOrService(text, isSource: isSource) { return side }
        throw Failure.badInput(
            "\(Text.line(text)) is no group or service that \(file) names; nodes, addresses and "
                + "other groups are known to the coordinator: leave --file out")
    }

    func side(_ text: String, of tenant: Name, isSource: Bool) throws -> AccessSide {
        if let side = try groupOrService(text, isSource: isSource) { return side }
        if let address = IPAddress(text) {
            let isKnown = members.contains { $0.prefix.contains(address) }
            if !isKnown { Console.error("note: no node has the address \(text)") }
            return .address(address)
        }
        let found = nodes.filter { $0.state == .active && [$0.name, $0.node].contains(text) }
        guard let node = found.first, let address = node.addresses.compactMap(IPPrefix.init).first
        else {
            throw Failure.badInput(
                "there is no group \(Text.line(text)) in \(tenant), and no service, active node or "
                    + "address; see `branchline group list --tenant \(tenant)`")
        }
        guard found.count == 1 else {
            throw Failure.badInput("\(text) is the name of \(found.count) nodes; give an address")
        }
        return .address(address.address)
    }
}
