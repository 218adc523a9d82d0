import ArgumentParser
import ControlModel
import CoordinatorClient
import PacketFormats

struct NodeReprofile: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reprofile",
        abstract: "Say what a node's tunnels must be, by a new grant.",
        discussion: """
            A tunnel is what the stronger of both ends' grants names: wireguard, or branchline \
            (post-quantum) with one of two ciphers, of which ChaCha20-Poly1305 counts as the \
            stronger. A gateway whose grant names branchline is reached by no plain WireGuard \
            client. The grants before are revoked. For example:

              branchline node reprofile plant-7 branchline-aes256gcm
            """)

    @OptionGroup var argument: NodeArgument

    @Argument(help: "The least that the node's tunnels must be.")
    var profile: TunnelProfile

    @OptionGroup var options: GrantOptions

    func run() async throws {
        let (nodes, cutOff) = try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument)
            let nodes = try await options.regrant(
                [node], of: tenant, session, change: { $0.profile = profile }, revokesOld: true,
                check: check)
            return (nodes, try await plainClients(of: node, tenant, session))
        }
        try options.output.print(nodes.first) { GrantOptions.text("reprofiled", nodes) }
        guard !cutOff.isEmpty else { return }
        Console.error(
            Text.plain(
                "note: plain WireGuard clients no longer reach it: "
                    + cutOff.sorted().joined(separator: ", ")))
    }

    private func check(
        _ trust: Trust, _ verified: VerifiedGrant, _ node: CoordinatorAPI.Node
    ) throws {
        guard !trust.isSuspended(verified), node.state != .pending else {
            throw Failure.failed("it is suspended or waits for approval; resume it first")
        }
        guard !node.isByHand || profile == .wireguard else {
            throw Failure.badInput(
                "it is a plain WireGuard client, which speaks wireguard only; let it join "
                    + "with a token of `branchline token create --profile \(profile.rawValue)`")
        }
    }

    /// Names of the plain WireGuard clients that a gateway of this profile does not answer.
    private func plainClients(
        of node: CoordinatorAPI.Node, _ tenant: Name, _ session: AdminSession
    ) async throws -> [String] {
        guard profile != .wireguard, node.role == Role.gateway.rawValue else { return [] }
        let nodes: [CoordinatorAPI.Node] = try await session.all("/v1/tenants/\(tenant)/nodes")
        return nodes.filter { $0.isByHand && AdminSession.isAlive($0) }.map(\.name)
    }
}

extension Grant {
    /// Says so of gateways whose grants ask for more than a plain WireGuard client can do.
    func noteWhoAsksForMore(of gateways: [GatewayPeer]) {
        for gateway in gateways where profile(with: gateway.grant.grant) != .wireguard {
            Console.error(
                Text.plain(
                    "note: the gateway \(gateway.name) asks for "
                        + "\(gateway.grant.grant.profile.rawValue), which a plain WireGuard client "
                        + "does not speak; to let such clients in: `branchline node reprofile "
                        + "\(gateway.name) wireguard`"))
        }
    }
}
