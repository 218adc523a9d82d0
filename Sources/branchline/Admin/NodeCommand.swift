import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import WireGuardConfiguration

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "List, suspend, revoke and renew nodes, and add WireGuard clients by hand.",
        discussion: """
            A node is named by its name, its key, or at least 6 first characters of its key. What \
            is signed here takes effect on every gateway within a second. For example:

              branchline node list
              branchline node suspend plant-7
            """,
        subcommands: [
            NodeList.self, NodeShow.self, NodeSuspend.self, NodeResume.self, NodeRevoke.self,
            NodeApprove.self, NodeRenew.self, NodeRegroup.self, NodeReprofile.self,
            NodeRename.self, NodeEndpoint.self, NodeSet.self, NodeRemove.self, NodeAdd.self,
            NodeConfiguration.self,
        ])
}

/// The node that a command is about.
struct NodeArgument: ParsableArguments {
    @Argument(
        help: "The node's name, its key, or at least 6 first characters of its key.",
        transform: KeyText.read)
    var node: String

    @OptionGroup var tenant: TenantOption
}

struct NodeList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List nodes.",
        discussion: """
            For example:

              branchline node list --tenant acme --state pending
            """)

    @Option(help: "Only nodes in this state: pending, active, suspended, revoked or left.")
    var state: CoordinatorAPI.NodeState?

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var nodes: [CoordinatorAPI.Node] = try await AdminSession.run { session in
            var nodes: [CoordinatorAPI.Node] = []
            for tenant in try await session.tenants(tenant) {
                nodes += try await session.all("/v1/tenants/\(tenant)/nodes")
            }
            return nodes
        }
        if let state { nodes = nodes.filter { $0.state == state } }
        nodes.sort { ($0.name, $0.tenant, $0.node) < ($1.name, $1.tenant, $1.node) }
        try output.print(nodes) {
            var table = TextTable(
                header: ["NODE", "TENANT", "ROLE", "STATE", "ADDRESSES", "SEEN", "UNTIL", "KEY"])
            let now = Text.now
            for node in nodes {
                // A plain WireGuard client never talks to the coordinator.
                let seen =
                    node.isByHand
                    ? "-"
                    : Text.shortAgo(seconds: UInt64(max(node.lastSeenAt ?? 0, 0)), now: now)
                table.append([
                    node.name, node.tenant, node.role,
                    node.state.rawValue + (node.isByHand ? ", by hand" : ""),
                    node.addresses.joined(separator: ", "),
                    node.isConnected ? "connected" : seen, Text.time(node.validUntil), node.node,
                ])
            }
            return table.text
        }
    }
}

struct NodeShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show a node, and what its signed grant says.",
        discussion: """
            For example:

              branchline node show plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (node, verdict) = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument)
            let trust = try await session.trust(tenant)
            return (node, trust.verdict(on: node, at: session.now))
        }
        try output.print(node) { Text.plain(node.text + "signed      \(verdict)\n") }
    }
}

struct NodeSuspend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suspend",
        abstract: "Cut a node off until `resume`.",
        discussion: """
            For example:

              branchline node suspend plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        let node = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument) {
                [.active, .pending].contains($0.state)
            }
            let trust = try await session.trust(tenant)
            let verified = try trust.past(node, at: session.now)
            guard !trust.isSuspended(verified) else {
                throw Failure.failed("\(node.name) is suspended already")
            }
            try confirmation.confirm("Suspend \(node.description(in: tenant))?\(node.warning)")
            try await session.revoke(
                [verified.suspension(at: session.now)], in: .tenant(tenant), trust, passphrase)
            return node
        }
        try Console.output(Text.plain("suspended \(node.name)"))
    }
}

struct NodeRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Cut a node off for good: its keys never count again.",
        discussion: """
            The machine itself may join anew, with a new token and new keys. For example:

              branchline node revoke plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        let node = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument)
            let trust = try await session.trust(tenant)
            let revocations = try Self.revocations(of: node, trust, at: session.now)
            try confirmation.confirm(
                "Revoke \(node.description(in: tenant)) for good?\(node.warning)")
            try await session.revoke(revocations, in: .tenant(tenant), trust, passphrase)
            return node
        }
        try Console.output(Text.plain("revoked \(node.name)"))
    }

    /// A chain that does not verify protects nobody from being revoked: its key is enough.
    private static func revocations(
        of node: CoordinatorAPI.Node, _ trust: Trust, at now: Int64
    ) throws -> [Revocation] {
        do {
            return try trust.past(node, at: now).revocations(at: now)
        } catch {
            if (error as? Refusal)?.reason == .nodeRevoked { throw error }
            let reason = (error as? Failure)?.message ?? "\(error)"
            Console.error(
                Text.plain(
                    "note: only its key is revoked, as its chain is not believed: \(reason)"))
            let until = now + TrustLimits.tokenSecondsMax + TrustLimits.grantSecondsMax
            return [Revocation(.node(try VerifyingKey(nodeKey: node.node)), until: until)]
        }
    }
}

struct NodeRename: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rename",
        abstract: "Give a node another name for people.",
        discussion: """
            For example:

              branchline node rename plant-7 plant-seven
            """)

    @Argument(
        help: "The node's name, its key, or at least 6 first characters of its key.",
        transform: KeyText.read)
    var node: String

    @Argument(help: "The new name: 1 to 63 letters, digits, hyphens and points.")
    var name: String

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let renamed = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(self.node, self.tenant)
            return try await session.change(node, of: tenant, CoordinatorAPI.NodeChange(name: name))
        }
        try output.print(renamed) { Text.plain("renamed to \(renamed.name)\n") }
    }
}

struct NodeEndpoint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoint",
        abstract: "Say where a gateway is reached, whatever it reports itself.",
        discussion: """
            For example:

              branchline node endpoint hq-1 vpn.example:51820
              branchline node endpoint hq-1 --clear
            """)

    @Argument(
        help: "The node's name, its key, or at least 6 first characters of its key.",
        transform: KeyText.read)
    var node: String

    @Argument(help: "HOST:PORT.")
    var endpoint: String?

    @Flag(help: "Believe again what the gateway reports.")
    var clear = false

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (endpoint == nil) == clear else {
            throw ValidationError("give HOST:PORT, or --clear")
        }
    }

    func run() async throws {
        if let endpoint, HostEndpoint(endpoint) == nil {
            throw Failure.badInput("\(endpoint) is not HOST:PORT, such as vpn.example:51820")
        }
        let node = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(self.node, self.tenant) {
                AdminSession.isAlive($0) && $0.role == Role.gateway.rawValue
            }
            guard node.role == Role.gateway.rawValue else {
                throw Failure.badInput(
                    "\(node.name) is a \(node.role), which nobody connects to; only gateways have "
                        + "an endpoint")
            }
            return try await session.change(
                node, of: tenant, CoordinatorAPI.NodeChange(endpoint: endpoint ?? ""))
        }
        try output.print(node) {
            Text.plain("\(node.name) is reached at \(node.endpoint ?? "what it reports")\n")
        }
    }
}

struct NodeRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Forget a node that was revoked or has left.",
        discussion: """
            For example:

              branchline node remove plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        let node = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument) {
                [.revoked, .left].contains($0.state)
            }
            try confirmation.confirm("Forget \(node.description(in: tenant))?")
            _ = try await session.client.call(
                .delete, "/v1/tenants/\(tenant)/nodes/\(try Parse.pathPart(node.node))")
            return node
        }
        try Console.output(Text.plain("removed \(node.name)"))
    }
}

extension AdminSession {
    func change(
        _ node: CoordinatorAPI.Node, of tenant: Name, _ change: CoordinatorAPI.NodeChange
    ) async throws -> CoordinatorAPI.Node {
        try await client.call(
            .patch, "/v1/tenants/\(tenant)/nodes/\(try Parse.pathPart(node.node))", body: change,
            ifMatch: node.revision
        ).answer
    }

    func find(
        _ argument: NodeArgument, where applies: NodeCondition = AdminSession.isAlive
    ) async throws -> (Name, CoordinatorAPI.Node) {
        try await find(argument.node, argument.tenant, where: applies)
    }

    typealias NodeCondition = (CoordinatorAPI.Node) -> Bool

    static func isAlive(_ node: CoordinatorAPI.Node) -> Bool {
        ![.revoked, .left].contains(node.state)
    }

    /// The node of this name or key.
    ///
    /// - Parameter applies: Whether the command can do anything with a node. Whoever revoked a
    ///   node may let it join anew under its name: of several the only one is meant that this
    ///   holds for, and otherwise the admin must choose.
    func find(
        _ text: String, _ option: TenantOption,
        where applies: NodeCondition = AdminSession.isAlive
    ) async throws -> (Name, CoordinatorAPI.Node) {
        let tenants = try await tenants(option)
        if let key = VerifyingKey(base64URL: text) {
            // A whole key is never taken for another node's name.
            guard let one = try await find(key, tenants) else {
                throw Failure.failed("there is no node \(text); see `branchline node list`")
            }
            return one
        }
        var found: [(Name, CoordinatorAPI.Node)] = []
        var isShortPrefix = false
        for tenant in tenants {
            let nodes: [CoordinatorAPI.Node] = try await all("/v1/tenants/\(tenant)/nodes")
            isShortPrefix =
                isShortPrefix
                || text.count < Self.keyPrefixCountMin && nodes.contains { $0.node.hasPrefix(text) }
            let matches = nodes.filter { node in
                node.name == text || node.node == text
                    || text.count >= Self.keyPrefixCountMin && node.node.hasPrefix(text)
            }
            found += matches.map { (tenant, $0) }
        }
        if found.count > 1 {
            let fitting = found.filter { applies($0.1) }
            if fitting.count == 1 { return fitting[0] }
        }
        guard let first = found.first else {
            let why =
                isShortPrefix
                ? " (of a key at least \(Self.keyPrefixCountMin) characters must be given)" : ""
            throw Failure.failed("there is no node \(text)\(why); see `branchline node list`")
        }
        guard found.count == 1 else {
            let keys = found.prefix(5).map { tenant, node in
                "\n  \(node.node), \(node.state.rawValue), of \(tenant)"
            }
            throw Failure.badInput(
                "\(text) is the name of \(found.count) nodes; give the key, one of" + keys.joined())
        }
        return first
    }

    /// Without going through all nodes.
    private func find(
        _ key: VerifyingKey, _ tenants: [Name]
    ) async throws -> (Name, CoordinatorAPI.Node)? {
        for tenant in tenants {
            do {
                let node: CoordinatorAPI.Node = try await get("/v1/tenants/\(tenant)/nodes/\(key)")
                guard node.node == key.base64URL else {
                    throw ClientFault.notACoordinator("it answered with another node")
                }
                return (tenant, node)
            } catch let problem as CoordinatorAPI.Problem where problem.status == 404 {}
        }
        return nil
    }

    private static var keyPrefixCountMin: Int { 6 }
}

extension VerifyingKey {
    fileprivate init(nodeKey text: String) throws {
        guard let key = VerifyingKey(base64URL: text) else {
            throw ClientFault.notACoordinator("\(text) is no node's key")
        }
        self = key
    }
}

extension Trust {
    /// What the node's chain says, with checks that also hold for what is over or suspended.
    ///
    /// - Throws: If the chain is another node's, or older than one that was seen here before.
    func past(_ node: CoordinatorAPI.Node, at now: Int64) throws -> VerifiedGrant {
        let verified = try verifier.verifyPast(StatementChain(parsing: node.chain), at: now)
        guard verified.node.base64URL == node.node, verified.tenant == tenant else {
            throw Refusal(.mixedTenant, "\(verified.node) of \(verified.tenant)")
        }
        let newest = seen.serial(of: verified.node, in: verified.tenant)
        guard verified.grant.serial >= newest else {
            throw Failure.failed(
                "the coordinator hands out an older grant of \(node.name) than was signed here "
                    + "(\(verified.grant.serial) after \(newest)); it may have been restored from "
                    + "a backup, or taken over")
        }
        return verified
    }

    /// Up to which serial the node's grants are revoked; 0 for none.
    func revokedSerial(of node: VerifyingKey) -> Int64 {
        var realms: [RevocationList.Realm] = [.organisation]
        if let tenant { realms.append(.tenant(tenant)) }
        return realms.compactMap { realm in
            verifier.revocations.list(of: realm)?.entries[.node(node)]?.serial
        }.max() ?? 0
    }

    func isSuspended(_ verified: VerifiedGrant) -> Bool {
        revokedSerial(of: verified.node) >= verified.grant.serial
    }

    fileprivate func verdict(on node: CoordinatorAPI.Node, at now: Int64) -> String {
        do {
            let chain = try StatementChain(parsing: node.chain)
            let verified = try verifier.verifyGrant(chain, at: now)
            return "by admin \(verified.admin.key), counts until \(Text.time(verified.validUntil))"
        } catch {
            return "does not count: \(error)"
        }
    }
}

extension CoordinatorAPI.Node {
    fileprivate func description(in tenant: Name) -> String {
        Text.plain("the \(role) \(name) of \(tenant) (\(node))")
    }

    /// What an admin should know before the node is cut off.
    fileprivate var warning: String {
        role == Role.gateway.rawValue
            ? " Everybody who uses this gateway is cut off with it." : ""
    }

    /// Of a gateway.
    var preference: [(String, String)] {
        guard role == Role.gateway.rawValue else { return [] }
        let standard = GatewayPreference()
        return [
            ("priority", "\(priority ?? Int64(standard.priority))"),
            ("weight", "\(weight ?? Int64(standard.weight))"),
            ("health", (health ?? ["the gateway itself"]).joined(separator: ", ")),
        ]
    }

    fileprivate var text: String {
        func list(_ texts: [String]) -> String {
            texts.isEmpty ? "none" : texts.joined(separator: ", ")
        }
        let facts = [
            ("node", name), ("key", node), ("tenant", tenant), ("role", role),
            ("state", state.rawValue + (isByHand ? ", by hand" : "")),
            ("addresses", list(addresses)), ("routes", list(routes)), ("groups", list(groups)),
            ("class", ceiling), ("profile", profile), ("wireguard", publicKey),
            ("endpoint", endpoint ?? "none"),
        ] + preference + [
            ("joined", Text.time(joinedAt)),
            ("seen", isConnected ? "connected" : lastSeenAt.map(Text.time) ?? "never"),
            ("version", agentVersion ?? "unknown"), ("until", Text.time(validUntil)),
        ]
        return facts.map { name, value in
            name + String(repeating: " ", count: max(1, 12 - name.count)) + value + "\n"
        }.joined()
    }
}
