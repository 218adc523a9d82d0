import ControlModel
import Cryptography
import Logging
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import Coordinator

/// Holds a key that cannot be copied.
final class Key: Sendable {
    let signing = SigningKey.generate()
    var verifying: VerifyingKey { signing.verifyingKey }
}

/// An organisation with a coordinator, its root key and an admin for everything.
final class World: Sendable {
    static let start: Int64 = 1_800_000_000
    static let day: Int64 = 86_400
    static let setupCode = "bls_setup"

    let storage: any Storage
    let service: CoordinatorService
    let clock: TestClock
    let root = Key(), admin = Key()
    let owner = Principal(actor: "api-token:owner", role: .owner, tenant: nil)

    init(_ storage: any Storage, clock: TestClock = TestClock(World.start)) async throws {
        self.storage = storage
        self.clock = clock
        service = try await World.service(storage, clock)
    }

    static func service(
        _ storage: any Storage, _ clock: TestClock
    ) async throws -> CoordinatorService {
        try await CoordinatorService(
            storage: storage, now: { clock.now },
            setupCodeHash: { SHA256.hash(World.setupCode) }, log: Logger(label: "test"))
    }

    var now: Int64 { clock.now }

    func validity(_ from: Int64, _ until: Int64) throws -> Validity {
        try #require(Validity(from: now + from, until: now + until))
    }

    // MARK: The organisation

    func adminKey(_ change: (inout AdminKey) -> Void = { _ in }) throws -> AdminKey {
        var key = AdminKey(
            key: admin.verifying, tenants: .all, roles: Set(Role.allCases),
            profiles: [.wireguard], ceiling: .token, grantSeconds: 90 * World.day,
            mayRevoke: true,
            validity: try #require(
                Validity(from: World.start - World.day, until: World.start + 365 * World.day)))
        change(&key)
        return key
    }

    func adminLink(_ change: (inout AdminKey) -> Void = { _ in }) throws -> String {
        try Statement.admin(try adminKey(change)).signed(by: root.signing)
    }

    func setUp(code: String = World.setupCode) async throws -> CoordinatorAPI.APITokenSecret {
        try await service.setUp(
            .init(
                setupCode: code, root: root.verifying.base64URL, admin: try adminLink(),
                tokenName: "owner"))
    }

    /// An organisation with the tenants acme and beta, and in acme the group plants.
    func prepare() async throws {
        _ = try await setUp()
        for name in ["acme", "beta"] {
            _ = try await service.addTenant(
                .init(name: name, pools: ["10.64.0.0/16", "fd00:64::/64"]), by: owner)
        }
        _ = try await service.addGroup("acme", .init(name: "plants"), by: owner)
    }

    // MARK: Tokens

    struct Token: Sendable {
        let claims: EnrolmentToken
        let chain: StatementChain
        let key: Key
    }

    /// Signs a token over reserved addresses; nobody has registered it.
    func signToken(
        _ addresses: [String], in tenant: Name = "acme", role: Role = .branch,
        approval: Bool = false, _ change: (inout EnrolmentToken) -> Void = { _ in }
    ) throws -> Token {
        let key = Key()
        var token = EnrolmentToken(
            id: try #require(TokenID(bytes: Array(key.verifying.bytes.prefix(16)))),
            key: key.verifying, tenant: tenant, role: role,
            addresses: Set(addresses.compactMap { IPPrefix($0) }), profiles: [.wireguard],
            ceiling: .token, grantSeconds: 30 * World.day, needsApproval: approval,
            coordinator: "https://hq.example:8443", validity: try validity(-60, World.day))
        change(&token)
        let link = try Statement.token(token).signed(by: admin.signing)
        return Token(claims: token, chain: StatementChain([try adminLink(), link]), key: key)
    }

    /// Reserves, signs and registers.
    func token(
        in tenant: Name = "acme", role: Role = .branch, approval: Bool = false,
        _ change: (inout EnrolmentToken) -> Void = { _ in }
    ) async throws -> Token {
        let reservation = try await service.reserve(tenant, .init(), by: owner)
        let token = try signToken(
            reservation.addresses, in: tenant, role: role, approval: approval, change)
        _ = try await service.addToken(
            tenant, .init(reservation: reservation.id, chain: token.chain.text), by: owner)
        return token
    }

    // MARK: Nodes

    struct Node: Sendable {
        let key: Key
        let grant: Grant
        let chain: StatementChain
        let secret: String
        let enrolment: CoordinatorAPI.Enrolment

        var verifying: VerifyingKey { key.verifying }
    }

    static func publicKey() -> PublicKey {
        // A random public key is as good as any.
        PublicKey(bytes: Key().verifying.bytes).unsafelyUnwrapped
    }

    /// A node's enrolment under a token, not yet sent.
    func enrolment(
        _ token: Token, key: Key = Key(), publicKey: PublicKey = World.publicKey(),
        name: String = "plant-1", _ change: (inout Grant) -> Void = { _ in }
    ) throws -> Node {
        var grant = Grant(
            node: key.verifying, serial: now - 100, publicKey: publicKey,
            tenant: token.claims.tenant, role: token.claims.role,
            addresses: token.claims.addresses, routes: token.claims.routes,
            groups: token.claims.groups, profile: .wireguard, ceiling: .token,
            token: token.claims.id, validity: try validity(-30, 20 * World.day))
        change(&grant)
        let chain = token.chain.appending(
            try Statement.grant(grant).signed(by: token.key.signing))
        let secret = "bln_" + Key().verifying.base64URL
        return Node(
            key: key, grant: grant, chain: chain, secret: secret,
            enrolment: .init(
                chain: chain.text, name: name,
                secretHash: Base64URL.encode(SHA256.hash(secret)), endpoint: nil,
                agentVersion: "1"))
    }

    /// A node that joined.
    func node(
        in tenant: Name = "acme", role: Role = .branch, approval: Bool = false,
        _ change: (inout EnrolmentToken) -> Void = { _ in }
    ) async throws -> Node {
        let node = try enrolment(
            try await token(in: tenant, role: role, approval: approval, change))
        _ = try await service.enrol(node.enrolment)
        return node
    }

    func identity(_ node: Node) async throws -> NodeIdentity {
        try await service.node(forSecret: node.secret)
    }

    func state(
        _ node: Node, in tenant: Name = "acme"
    ) async throws -> CoordinatorAPI.NodeState {
        try await service.node(tenant, node.verifying, by: owner).state
    }

    /// A grant by the admin.
    func grant(
        _ node: Node, serial: Int64? = nil, _ change: (inout Grant) -> Void = { _ in }
    ) throws -> CoordinatorAPI.SignedChain {
        var grant = node.grant
        grant.token = nil
        grant.serial = serial ?? now - 10
        grant.validity = try validity(-10, 30 * World.day)
        change(&grant)
        let link = try Statement.grant(grant).signed(by: admin.signing)
        return .init(chain: StatementChain([try adminLink(), link]).text)
    }

    // MARK: Revocations

    func list(
        _ revocations: [Revocation], of realm: RevocationList.Realm = .tenant("acme"),
        number: Int64? = nil, byRoot: Bool = false
    ) throws -> CoordinatorAPI.SignedChain {
        let list = RevocationList(
            realm: realm, number: number ?? now - 20, issuedAt: now - 10,
            revocations: revocations)
        if byRoot {
            return .init(chain: try Statement.revocations(list).signed(by: root.signing))
        }
        let link = try Statement.revocations(list).signed(by: admin.signing)
        return .init(chain: StatementChain([try adminLink(), link]).text)
    }

    /// Adds to the tenant's list what its admin would add.
    func revoke(_ revocations: [Revocation], in tenant: Name = "acme") async throws {
        let old = try await service.revocations(tenant, by: owner)
        var all: [Revocation] = revocations
        if let chain = old.chain {
            var known = Revocations()
            let link = try StatementChain(parsing: chain).links.last
            try known.restore(try #require(link))
            all += known.list(of: .tenant(tenant))?.entries.values.map(\.self) ?? []
        }
        clock.advance(1)
        _ = try await service.setRevocations(
            tenant, try list(all, of: .tenant(tenant)), ifMatch: old.number, by: owner)
    }

    func revocation(
        of subject: Revocation.Subject, serial: Int64 = TrustLimits.integerMax
    ) -> Revocation {
        Revocation(subject, serial: serial, until: now + 90 * World.day)
    }
}

/// Runs `body` over an empty database with the organisation of `World.prepare`.
func withWorld(
    _ backend: Backend, isPrepared: Bool = true, _ body: (World) async throws -> Void
) async throws {
    try await withStorage(backend) { storage, _ in
        let world = try await World(storage)
        if isPrepared { try await world.prepare() }
        try await body(world)
    }
}

/// Why `body` failed; `nil` where it did not.
func reason<Value>(_ body: () async throws -> Value) async -> String? {
    do {
        _ = try await body()
        return nil
    } catch {
        return (error as? CoordinatorAPI.Problem)?.reason ?? "\(error)"
    }
}

extension Name: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) {
        guard let name = Name(text) else { preconditionFailure("no name: \(text)") }
        self = name
    }
}
