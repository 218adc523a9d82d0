import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import Foundation
import LinuxNetworking
import PacketFormats
import QRCode
import WireGuardConfiguration

/// 1. The coordinator reserves addresses.
/// 2. The admin's key signs the client's grant; the node key under it is thrown away, as a plain
///    WireGuard client cannot use it.
/// 3. The configuration is written, and then the coordinator lets the client in.
struct NodeAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Add a plain WireGuard client by hand, and write its configuration.",
        discussion: """
            The file suits `wg-quick` and WireGuard's apps. For example:

              branchline node add tablet-3 --tenant acme --qr
              branchline node add router-9 --tenant acme --public-key 8bC... --output router.conf
            """)

    @Argument(help: "What to call it: 1 to 63 letters, digits, hyphens and points.")
    var name: String

    @Option(help: "The client's WireGuard key, where it has one; otherwise one is made for it.")
    var publicKey: String?

    @Option(
        name: [.customLong("address")],
        help: "An address that it shall have; without it the coordinator chooses.",
        transform: Parse.prefix)
    var addresses: [IPPrefix] = []

    @Option(
        name: [.customLong("group")], help: "A group that it will be in; may be repeated.",
        transform: Parse.name)
    var groups: [Name] = []

    @Option(
        name: [.customLong("route")], help: "A network behind it; may be repeated.",
        transform: Parse.prefix)
    var routes: [IPPrefix] = []

    @Option(name: [.customLong("class")], help: "The best traffic class that it may use.")
    var ceiling: ClassCeiling = .token

    @Option(
        help: ArgumentHelp("How long it may stay; 398d at most.", valueName: "duration"),
        transform: Parse.duration)
    var grantFor: Int64 = 365 * 86_400

    @OptionGroup var tenant: TenantOption
    @OptionGroup var file: ClientFileOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard !output.json || file.output != "-" else {
            throw ValidationError(
                "--json and --output - would mix two texts on standard output; give --output a "
                    + "file")
        }
        try file.checkQR(hasPrivateKey: publicKey == nil)
    }

    func run() async throws {
        let own = publicKey == nil ? PrivateKey.generate() : nil
        guard let key = own?.publicKey ?? publicKey.flatMap({ PublicKey(base64: $0) }) else {
            throw Failure.badInput(
                "\(publicKey ?? "") is not a WireGuard key: 44 characters of base64")
        }
        let path = try file.path(for: name)
        let node = try await AdminSession.run { session in
            try await add(session, key, own, path)
        }
        try output.print(node) {
            Text.plain("added \(node.name) with \(node.addresses.joined(separator: ", "))\n")
        }
    }

    private func add(
        _ session: AdminSession, _ key: PublicKey, _ own: PrivateKey?, _ path: String
    ) async throws -> CoordinatorAPI.Node {
        let tenant = try await session.tenant(self.tenant)
        let trust = try await session.trust(tenant)
        let authority = try session.authority(trust)
        try await session.checkNewNode(
            of: tenant, authority, role: .client, groups: groups, routes: routes,
            ceiling: ceiling)
        let gateways = try await session.gateways(of: trust)
        let admin = try session.folder.openKey(.adminKey, passphrase)
        let reservation: CoordinatorAPI.Reservation = try await session.client.call(
            .post, "/v1/tenants/\(tenant)/reservations",
            body: CoordinatorAPI.ReservationRequest(addresses: addresses.map(\.description))
        ).answer
        let hosts = try session.hosts(of: reservation, wanted: addresses)
        let now = session.now
        let seconds = authority.granted(grantFor, at: now)
        guard let validity = Validity(from: now, until: now + seconds) else {
            throw Failure.badInput("--grant-for is no duration")
        }
        let grant = Grant(
            node: SigningKey.generate().verifyingKey, serial: now, publicKey: key, tenant: tenant,
            role: .client, addresses: Set(hosts), routes: Set(routes), groups: Set(groups),
            profile: .wireguard, ceiling: ceiling, validity: validity)
        grant.noteWhoAsksForMore(of: gateways)
        let chain = try authority.chain(of: grant, signedBy: admin, at: now)
        try file.write(
            try file.configuration(of: grant, key: own, gateways: gateways), to: path)
        do {
            let node: CoordinatorAPI.Node = try await session.client.call(
                .post, "/v1/tenants/\(tenant)/nodes",
                body: CoordinatorAPI.NodeByHand(
                    reservation: reservation.id, chain: chain.text, name: name)
            ).answer
            try session.note([grant])
            return node
        } catch {
            if path != "-" { try? FileManager.default.removeItem(atPath: path) }
            throw error
        }
    }
}

struct NodeConfiguration: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Write a WireGuard client's configuration again, with the gateways of today.",
        discussion: """
            The private key is read from a file or, with -, from standard input; without one the \
            configuration has none. For example:

              branchline node config tablet-3 --private-key-file tablet.key --qr
            """)

    @OptionGroup var argument: NodeArgument

    @Option(
        help: ArgumentHelp("Read the client's private key.", valueName: "file"),
        completion: .file())
    var privateKeyFile: String?

    @OptionGroup var file: ClientFileOptions

    func validate() throws { try file.checkQR(hasPrivateKey: privateKeyFile != nil) }

    func run() async throws {
        let own = try privateKeyFile.map(Self.privateKey)
        try await AdminSession.run { session in
            let (tenant, node) = try await session.find(argument)
            let trust = try await session.trust(tenant)
            let verified = try trust.past(node, at: session.now)
            if let own, own.publicKey != verified.publicKey {
                throw Failure.badInput("the private key is not that of \(node.name)")
            }
            let path = try file.path(for: node.name)
            let gateways = try await session.gateways(of: trust)
            try file.write(
                try file.configuration(of: verified.grant, key: own, gateways: gateways), to: path)
        }
    }

    private static func privateKey(_ path: String) throws -> PrivateKey {
        var bytes = try InputFile.bytes(path, bytesMax: 4096)
        defer { bytes.wipe() }
        let words = bytes.split { $0 == 0x20 || (0x09...0x0D).contains($0) }
        guard words.count == 1, let key = PrivateKey(base64: words[0]) else {
            throw Failure.badInput(
                "\(path) holds no private key: one line of 44 base64 characters")
        }
        return key
    }
}

/// A gateway as its verified chain describes it, and where the coordinator says that it is reached.
struct GatewayPeer: Sendable {
    let name: String
    let grant: VerifiedGrant
    let endpoint: HostEndpoint?
}

extension AdminSession {
    /// The tenant's gateways that count now.
    func gateways(of trust: Trust) async throws -> [GatewayPeer] {
        guard let tenant = trust.tenant else { return [] }
        let nodes: [CoordinatorAPI.Node] = try await all("/v1/tenants/\(tenant)/nodes")
        var gateways: [GatewayPeer] = []
        for node in nodes where node.role == Role.gateway.rawValue && node.state == .active {
            do {
                let grant = try trust.verifier.verifyGrant(
                    StatementChain(parsing: node.chain), at: now)
                guard grant.tenant == tenant, grant.grant.role == .gateway else { continue }
                let endpoint = node.endpoint.flatMap { HostEndpoint($0) }
                gateways.append(GatewayPeer(name: node.name, grant: grant, endpoint: endpoint))
            } catch {
                Console.error(
                    Text.plain("note: the gateway \(node.name) is left out: \(error)"))
            }
        }
        if gateways.isEmpty {
            Console.error(
                "note: \(tenant) has no gateway yet, so the configuration has no peer; write it "
                    + "again with `branchline node config` once there is one")
        }
        return gateways
    }
}
