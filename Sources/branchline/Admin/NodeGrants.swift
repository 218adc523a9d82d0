import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import PacketFormats

struct NodeResume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Let a suspended node in again, by a new grant.",
        discussion: """
            For example:

              branchline node resume plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var options: GrantOptions

    func run() async throws {
        try await options.regrant(
            argument, done: "resumed", applies: { $0.state == .suspended }
        ) { trust, verified, _ in
            guard trust.isSuspended(verified) else {
                throw Failure.failed(
                    "it is not suspended; to grant more time use `branchline node renew`")
            }
        }
    }
}

struct NodeRenew: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew",
        abstract: "Grant nodes more time, with nothing else changed.",
        discussion: """
            For example:

              branchline node renew plant-7 --grant-for 90d
              branchline node renew --all --ending-within 30d
            """)

    @Argument(
        help: "The node's name, its key, or at least 6 first characters of its key.",
        transform: KeyText.read)
    var node: String?

    @Flag(help: "All active nodes of the tenant, or of all tenants.")
    var all = false

    @Option(
        help: ArgumentHelp("With --all: only those that end soon.", valueName: "duration"),
        transform: Parse.duration)
    var endingWithin: Int64?

    @OptionGroup var tenant: TenantOption
    @OptionGroup var options: GrantOptions
    @OptionGroup var confirmation: ConfirmOptions

    func validate() throws {
        guard (node == nil) == all, all || endingWithin == nil else {
            throw ValidationError("give a node, or --all")
        }
    }

    func run() async throws {
        let nodes = try await AdminSession.run { session in
            if let node {
                let (tenant, node) = try await session.find(node, tenant)
                return try await options.regrant([node], of: tenant, session, check: Self.check)
            }
            return try await renewAll(session)
        }
        try options.output.print(nodes) { GrantOptions.text("renewed", nodes) }
    }

    private func renewAll(_ session: AdminSession) async throws -> [CoordinatorAPI.Node] {
        var renewed: [CoordinatorAPI.Node] = []
        for tenant in try await session.tenants(tenant) {
            let nodes: [CoordinatorAPI.Node] = try await session.all("/v1/tenants/\(tenant)/nodes")
            let limit = endingWithin.map { session.now + $0 } ?? .max
            let due = nodes.filter { $0.state == .active && $0.validUntil <= limit }
            if due.isEmpty { continue }
            try confirmation.confirm("Renew \(due.count) nodes of \(tenant)?")
            renewed += try await options.regrant(due, of: tenant, session, check: Self.check)
        }
        return renewed
    }

    private static func check(
        _ trust: Trust, _ verified: VerifiedGrant, _ node: CoordinatorAPI.Node
    ) throws {
        guard !trust.isSuspended(verified) else {
            throw Failure.failed("it is suspended; use `branchline node resume`")
        }
        guard node.state != .pending, verified.token?.needsApproval != true else {
            throw Failure.failed("it waits for approval; use `branchline node approve`")
        }
    }
}

struct NodeApprove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "approve",
        abstract: "Let a node in that joined with a token that needs approval.",
        discussion: """
            What is going to be signed is shown first. For example:

              branchline node list --state pending
              branchline node approve plant-7
            """)

    @OptionGroup var argument: NodeArgument
    @OptionGroup var options: GrantOptions
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        try await options.regrant(
            argument, done: "approved", applies: { $0.state == .pending }
        ) { trust, verified, node in
            guard verified.token?.needsApproval == true else {
                throw Failure.failed("it does not wait for approval")
            }
            guard !trust.isSuspended(verified) else {
                throw Failure.failed("it is suspended; use `branchline node resume`")
            }
            Console.error(Text.plain(verified.grant.summary(name: node.name)))
            try confirmation.confirm("Let it in?")
        }
    }
}

struct NodeRegroup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "regroup",
        abstract: "Put a node into other groups, by a new grant.",
        discussion: """
            The groups replace those that it is in; without --group it is in none. The grants \
            before are revoked. For example:

              branchline node regroup plant-7 --group plants --group night-shift
            """)

    @Option(
        name: [.customLong("group")],
        help: "A group that the node will be in; may be repeated.", transform: Parse.name)
    var groups: [Name] = []

    @OptionGroup var argument: NodeArgument
    @OptionGroup var options: GrantOptions

    func run() async throws {
        try await options.regrant(
            argument, done: "regrouped", change: { $0.groups = Set(groups) }, revokesOld: true
        ) { trust, verified, node in
            guard !trust.isSuspended(verified), node.state != .pending else {
                throw Failure.failed("it is suspended or waits for approval; resume it first")
            }
        }
    }
}

/// What commands that sign a new grant have in common.
struct GrantOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How long the new grant lasts, such as 90d; without it, as long as the old one did.",
            valueName: "duration"),
        transform: Parse.duration)
    var grantFor: Int64?

    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var output: OutputOptions

    /// Signs a new grant for one node, and says so.
    func regrant(
        _ argument: NodeArgument, done: String, change: (inout Grant) -> Void = { _ in },
        revokesOld: Bool = false,
        applies: AdminSession.NodeCondition = AdminSession.isAlive, check: Check
    ) async throws {
        let nodes = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument, where: applies)
            return try await regrant(
                [node], of: tenant, session, change: change, revokesOld: revokesOld, check: check)
        }
        try output.print(nodes.first) { Self.text(done, nodes) }
    }

    typealias Check = (Trust, VerifiedGrant, CoordinatorAPI.Node) throws -> Void

    /// Signs new grants with what the nodes' old ones say.
    ///
    /// 1. Verify the old chains: nothing that the coordinator says beside them is signed.
    /// 2. Ask `check` whether this is what the admin wants.
    /// 3. Sign, which checks the result against the admin's scope, and hand it out.
    /// 4. Where the old grants must not be used any more, revoke up to them.
    func regrant(
        _ nodes: [CoordinatorAPI.Node], of tenant: Name, _ session: AdminSession,
        change: (inout Grant) -> Void = { _ in }, revokesOld: Bool = false, check: Check
    ) async throws -> [CoordinatorAPI.Node] {
        let trust = try await session.trust(tenant)
        let authority = try session.authority(trust)
        let old = try nodes.map { node in
            let verified = try trust.past(node, at: session.now)
            try check(trust, verified, node)
            return verified
        }
        if let grantFor { _ = authority.granted(grantFor, at: session.now) }
        let key = try session.folder.openKey(.adminKey, passphrase)
        var answers: [CoordinatorAPI.Node] = []
        var revocations: [Revocation] = []
        var signed: [Grant] = []
        do {
            for verified in old {
                var grant = try renewed(verified, trust, authority, at: session.now)
                change(&grant)
                answers.append(try await session.set(grant, trust, authority, signedBy: key))
                signed.append(grant)
                var revocation = verified.suspension(at: session.now)
                revocation.serial = grant.serial - 1
                revocations.append(revocation)
            }
            try session.note(signed)
        } catch {
            try session.note(signed)
            throw error
        }
        if revokesOld {
            try await session.revoke(
                revocations, in: .tenant(tenant), trust, authority, signedBy: key)
        }
        return answers
    }

    private func renewed(
        _ verified: VerifiedGrant, _ trust: Trust, _ authority: Authority, at now: Int64
    ) throws -> Grant {
        let wanted = grantFor ?? verified.grant.validity.seconds
        let renewed = verified.renewed(
            at: now, above: trust.revokedSerial(of: verified.node),
            seconds: min(wanted, authority.admin.grantSeconds))
        guard let renewed else {
            throw Failure.badInput("the grant cannot last \(wanted) seconds")
        }
        return renewed
    }

    static func text(_ done: String, _ nodes: [CoordinatorAPI.Node]) -> String {
        if nodes.isEmpty { return "no node is due\n" }
        let lines = nodes.map { "\(done) \($0.name), until \(Text.time($0.validUntil))\n" }
        return Text.plain(lines.joined())
    }
}

extension AdminSession {
    /// Signs a node's grant and hands it out.
    func set(
        _ grant: Grant, _ trust: Trust, _ authority: Authority,
        signedBy key: borrowing SigningKey
    ) async throws -> CoordinatorAPI.Node {
        let chain = try authority.chain(of: grant, signedBy: key, at: now)
        return try await client.call(
            .put, "/v1/tenants/\(grant.tenant)/nodes/\(grant.node)/grant",
            body: CoordinatorAPI.SignedChain(chain: chain.text)
        ).answer
    }

    /// Remembers that grants of these serials were signed.
    func note(_ grants: [Grant]) throws {
        var seen = try SeenStatements(folder)
        for grant in grants { seen.note(grant) }
        try seen.save(folder)
    }
}

extension Grant {
    /// For people, before they sign.
    fileprivate func summary(name: String) -> String {
        func list(_ texts: [String]) -> String {
            texts.isEmpty ? "none" : texts.sorted().joined(separator: ", ")
        }
        return """
            \(Text.line(name)) asks to join:
              key        \(node)
              wireguard  \(publicKey)
              tenant     \(tenant), role \(role.rawValue)
              addresses  \(list(addresses.map(\.description)))
              routes     \(list(routes.map(\.description)))
              groups     \(list(groups.map(\.text)))
              class      \(ceiling.rawValue), profile \(profile.rawValue)
            """
    }
}
