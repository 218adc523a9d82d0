import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import PacketFormats
import PacketMemory
import QRCode

struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Make the strings that nodes join with.",
        discussion: """
            A token lets one node join, once. For example:

              branchline token create --tenant acme --role branch --expires 24h
            """,
        subcommands: [TokenCreate.self, TokenList.self, TokenRevoke.self])
}

/// 1. The coordinator reserves addresses.
/// 2. The token's key is made, and the admin's key signs the token for exactly these addresses.
/// 3. The coordinator gets the token without its private half.
/// 4. All that the node needs is printed as one string.
struct TokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Make a token and print the one string that a node joins with.",
        discussion: """
            The string is a secret: whoever has it first is the node. Only it goes to standard \
            output. With --profile branchline-aes256gcm or branchline-chacha20poly1305 all of the \
            node's tunnels are post-quantum, or there are none. For example:

              (umask 077; branchline token create --tenant acme --role branch > token.txt)
              branchline token create --tenant acme --role branch --profile branchline-aes256gcm
            """)

    @OptionGroup var tenant: TenantOption

    @Option(help: "What the node will be.")
    var role: Role

    @Option(
        help: ArgumentHelp("Until when a node may join; 90d at most.", valueName: "duration"),
        transform: Parse.duration)
    var expires: Int64 = 86_400

    @Option(
        help: ArgumentHelp(
            "How long the node's grant lasts; 398d at most.", valueName: "duration"),
        transform: Parse.duration)
    var grantFor: Int64 = 90 * 86_400

    @Option(
        name: [.customLong("route")],
        help: "A network behind the node; may be repeated.", transform: Parse.prefix)
    var routes: [IPPrefix] = []

    @Option(
        name: [.customLong("group")],
        help: "A group that the node will be in; may be repeated.", transform: Parse.name)
    var groups: [Name] = []

    @Option(
        name: [.customLong("address")],
        help: "An address that the node shall have; without it the coordinator chooses.",
        transform: Parse.prefix)
    var addresses: [IPPrefix] = []

    @Option(name: [.customLong("class")], help: "The best traffic class that the node may use.")
    var ceiling: ClassCeiling = .token

    @Option(
        help: "The least that the node's tunnels must be; its peers' grants may ask for more.")
    var profile: TunnelProfile = .wireguard

    @Option(
        help: ArgumentHelp(
            "Where the node reaches the coordinator, if not where you do.", valueName: "url"))
    var coordinator: String?

    @Flag(help: "The node only asks to join, until `branchline node approve`.")
    var approval = false

    @Option(help: "A note that `token list` shows.")
    var note: String?

    @Flag(help: "Show the string as a QR code, too.")
    var qr = false

    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var output: OutputOptions

    /// What `--json` prints.
    private struct Created: Encodable, Sendable {
        let joinText: String
        let token: CoordinatorAPI.EnrolmentTokenRecord
    }

    func validate() throws {
        guard expires <= TrustLimits.tokenSecondsMax else {
            throw ValidationError(
                "--expires is at most \(TrustLimits.tokenSecondsMax / 86_400)d")
        }
        guard grantFor <= TrustLimits.grantSecondsMax else {
            throw ValidationError(
                "--grant-for is at most \(TrustLimits.grantSecondsMax / 86_400)d")
        }
    }

    func run() async throws {
        let created = try await AdminSession.run { session in try await create(session) }
        if output.json {
            try Console.output(try APIJSON.encodePretty(created))
            return
        }
        try Console.output(created.joinText)
        if qr {
            guard let code = QRCode(Array(created.joinText.utf8)) else {
                throw Failure.failed("the string is too long for a QR code; hand over the text")
            }
            for line in code.terminalLines { Console.error(line) }
        }
        let token = created.token
        Console.error(
            Text.plain(
                "note: token \(token.id) for a \(token.role) of \(token.tenant) at "
                    + "\(token.addresses.joined(separator: ", ")), good once until "
                    + "\(Text.time(token.expiresAt)); on the node: sudo branchline join TOKEN"))
    }

    private func create(_ session: AdminSession) async throws -> Created {
        let tenant = try await session.tenant(self.tenant)
        let trust = try await session.trust(tenant)
        let authority = try session.authority(trust)
        try await session.checkNewNode(
            of: tenant, authority, role: role, groups: groups, routes: routes, ceiling: ceiling)
        let admin = try session.folder.openKey(.adminKey, passphrase)
        let reservation: CoordinatorAPI.Reservation = try await session.client.call(
            .post, "/v1/tenants/\(tenant)/reservations",
            body: CoordinatorAPI.ReservationRequest(addresses: addresses.map(\.description))
        ).answer
        let hosts = try session.hosts(of: reservation, wanted: addresses)
        guard let root = trust.verifier.anchors.anchors.last?.key else {
            throw Failure.failed("there is no root")
        }
        let key = SigningKey.generate()
        let now = session.now
        guard let validity = Validity(from: now, until: now + expires) else {
            throw Failure.badInput("--expires is no duration")
        }
        let token = EnrolmentToken(
            id: Self.newID(), key: key.verifyingKey, tenant: tenant, role: role,
            addresses: Set(hosts), routes: Set(routes), groups: Set(groups), profiles: [profile],
            ceiling: ceiling, grantSeconds: authority.granted(grantFor, at: now),
            needsApproval: approval, coordinator: coordinator ?? session.login.coordinator,
            serverPin: session.login.serverPin, validity: validity)
        let text = try JoinText(
            root: root, adminLink: authority.link, token: token, key: key, signedBy: admin,
            at: now)
        let record: CoordinatorAPI.EnrolmentTokenRecord = try await session.client.call(
            .post, "/v1/tenants/\(tenant)/tokens",
            body: CoordinatorAPI.EnrolmentTokenRequest(
                reservation: reservation.id, chain: text.chain.text, note: note)
        ).answer
        guard record.id == token.id.base64URL, record.tenant == tenant.text,
            record.role == role.rawValue, record.expiresAt == validity.until,
            Set(record.addresses) == Set(hosts.map(\.description))
        else { throw ClientFault.notACoordinator("it answered with another token") }
        return Created(joinText: text.unsafeText(), token: record)
    }

    private static func newID() -> TokenID {
        let arena = ByteArena(count: TokenID.count)
        SecureRandom.fill(arena.whole)
        guard let id = TokenID(bytes: arena.whole.bytes) else {
            preconditionFailure("an id has as many bytes as were made")
        }
        return id
    }
}

extension AdminSession {
    /// The reserved addresses: those that were asked for and no others, or, where the coordinator
    /// chooses, one host of each family that a node can have. What is signed is what is meant.
    func hosts(
        of reservation: CoordinatorAPI.Reservation, wanted: [IPPrefix]
    ) throws -> [IPPrefix] {
        let hosts = reservation.addresses.compactMap { IPPrefix($0) }
        let families = Set(hosts.map(\.address.isIPv4))
        guard hosts.count == reservation.addresses.count, !hosts.isEmpty,
            hosts.allSatisfy({ $0.length == ($0.address.isIPv4 ? 32 : 128) }),
            wanted.isEmpty ? families.count == hosts.count : Set(wanted) == Set(hosts),
            !hosts.contains(where: { host in
                Self.neverNodes.contains { $0.contains(host.address) }
            })
        else {
            throw Failure.failed(
                "the coordinator reserved other addresses than those that were asked for, or such "
                    + "as no node has, and nothing was signed: "
                    + Text.line(reservation.addresses.joined(separator: ", ")))
        }
        return hosts
    }

    /// This host, this link, and groups (RFC 6890, RFC 4291): routed into a tunnel, they would take
    /// a machine's own services away.
    private static let neverNodes = [
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10",
        "ff00::/8",
    ].compactMap { IPPrefix($0) }
}

struct TokenList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List tokens, without their secrets.",
        discussion: """
            For example:

              branchline token list --tenant acme
            """)

    @OptionGroup var tenant: TenantOption
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let tokens = try await AdminSession.run { session in
            var tokens: [CoordinatorAPI.EnrolmentTokenRecord] = []
            for tenant in try await session.tenants(tenant) {
                tokens += try await session.all("/v1/tenants/\(tenant)/tokens")
            }
            return tokens
        }
        try output.print(tokens) {
            var table = TextTable(
                header: ["TOKEN", "TENANT", "ROLE", "STATE", "EXPIRES", "ADDRESSES", "NOTE"])
            for token in tokens {
                table.append([
                    token.id, token.tenant, token.role,
                    token.state.rawValue + (token.needsApproval ? ", approval" : ""),
                    Text.time(token.expiresAt), token.addresses.joined(separator: ", "),
                    token.note ?? "-",
                ])
            }
            return table.text
        }
    }
}

struct TokenRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Withdraw a token, and sign that nodes must not believe it either.",
        discussion: """
            A node that joined with it is cut off, too. With --withdraw-only nothing is signed, \
            which is enough for a token that nobody has seen. For example:

              branchline token revoke 2Nf8...
            """)

    @Argument(
        help: "The token's id, as `token list` shows it.", transform: KeyText.read)
    var id: String

    @Flag(help: "Only tell the coordinator; needs no key.")
    var withdrawOnly = false

    @OptionGroup var tenant: TenantOption
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var confirmation: ConfirmOptions

    func run() async throws {
        guard let id = TokenID(base64URL: id) else {
            throw Failure.badInput("\(id) is not a token's id; see `branchline token list`")
        }
        try await AdminSession.run { session in
            let tenant = try await session.tenant(of: id, tenant)
            try confirmation.confirm("Revoke the token \(id) of \(tenant)?")
            if !withdrawOnly {
                let trust = try await session.trust(tenant)
                // What was signed is not known here, so the longest that it could last counts.
                let until =
                    session.now + TrustLimits.tokenSecondsMax + TrustLimits.grantSecondsMax
                try await session.revoke(
                    [Revocation(.token(id), until: until)], in: .tenant(tenant), trust,
                    passphrase)
            }
            do {
                _ = try await session.client.call(.delete, "/v1/tenants/\(tenant)/tokens/\(id)")
            } catch let problem as CoordinatorAPI.Problem where !withdrawOnly {
                // Used or gone: the signed list says all there is to say.
                guard [409, 404].contains(problem.status) else { throw problem }
            }
        }
        try Console.output("revoked \(id)")
    }
}

extension AdminSession {
    fileprivate func tenant(of id: TokenID, _ option: TenantOption) async throws -> Name {
        let tenants = try await tenants(option)
        if tenants.count == 1 { return tenants[0] }
        for tenant in tenants {
            let tokens: [CoordinatorAPI.EnrolmentTokenRecord] = try await all(
                "/v1/tenants/\(tenant)/tokens")
            if tokens.contains(where: { $0.id == id.base64URL }) { return tenant }
        }
        throw Failure.failed("there is no token \(id); see `branchline token list`")
    }
}
