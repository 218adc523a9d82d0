import Cryptography
import PacketFormats
import PacketMemory
import TestSupport

@testable import ControlModel

/// An organisation with a root, an admin for the tenants acme and beta, a token and a node.
///
/// Its keys are always the same, so that a failure repeats.
final class World: Sendable {
    static let now: Int64 = 1_800_000_000
    static let day: Int64 = 86_400

    let root = World.key(1), admin = World.key(2), delegated = World.key(3), node = World.key(4)
    /// Of nobody.
    let stranger = World.key(9)

    static func key(_ number: UInt64) -> SigningKey {
        var generator = SeededGenerator(seed: number)
        var seed = Secret32()
        ByteArena.withCopy(of: generator.bytes(32)) { bytes in
            seed.withMutableBytes { $0.copy(from: bytes) }
        }
        return SigningKey(seed: seed)
    }

    static func publicKey(_ number: UInt8) -> PublicKey {
        // 32 bytes are always a key.
        PublicKey(bytes: [UInt8](repeating: number, count: 32)).unsafelyUnwrapped
    }

    static func tokenID(_ number: UInt8) -> TokenID {
        TokenID(bytes: [UInt8](repeating: number, count: 16)).unsafelyUnwrapped
    }

    /// From and until, seconds from now.
    static func validity(_ from: Int64, _ until: Int64) -> Validity {
        Validity(from: now + from, until: now + until).unsafelyUnwrapped
    }

    var adminKey: AdminKey {
        AdminKey(
            key: admin.verifyingKey, tenants: .only(["acme", "beta"]), roles: [.branch, .gateway],
            profiles: [.wireguard], ceiling: .activation, grantSeconds: 90 * World.day,
            mayRevoke: true, validity: World.validity(-World.day, 365 * World.day))
    }

    var grant: Grant {
        Grant(
            node: node.verifyingKey, serial: World.now - 100, publicKey: World.publicKey(7),
            tenant: "acme", role: .branch, addresses: ["10.64.0.2/32"],
            routes: ["192.168.7.0/24", "fd00:7::/64"], groups: ["plants"], profile: .wireguard,
            ceiling: .prompt, validity: World.validity(-60, 30 * World.day))
    }

    var token: EnrolmentToken {
        EnrolmentToken(
            id: World.tokenID(5), key: delegated.verifyingKey, tenant: "acme", role: .branch,
            addresses: ["10.64.0.0/16"], routes: ["192.168.0.0/16", "fd00:7::/32"],
            groups: ["plants"], profiles: [.wireguard], ceiling: .prompt,
            grantSeconds: 30 * World.day + 60, coordinator: "https://hq.example:8443",
            serverPin: ServerPin(bytes: [UInt8](repeating: 6, count: 32)),
            validity: World.validity(-3600, World.day))
    }

    var joinGrant: Grant { changed(grant) { $0.token = World.tokenID(5) } }

    var rotation: KeyRotation {
        KeyRotation(
            tenant: "acme", serial: grant.serial, turn: 1, publicKey: World.publicKey(8),
            validity: World.validity(-30, 10 * World.day))
    }

    var rollover: RootRollover {
        RootRollover(
            nextRoot: World.key(21).verifyingKey, retiresAt: World.now + 30 * World.day,
            validity: World.validity(-60, 365 * World.day))
    }

    func list(
        _ number: Int64, of realm: RevocationList.Realm = .organisation,
        _ revocations: [Revocation] = []
    ) -> RevocationList {
        RevocationList(
            realm: realm, number: number, issuedAt: World.now - 30, revocations: revocations)
    }

    var verifier: Verifier { Verifier(anchors: RootAnchors(root: root.verifyingKey)) }

    // The links of the usual chains, with changes.

    func adminLink(_ change: (inout AdminKey) -> Void = { _ in }) throws -> String {
        try Statement.admin(changed(adminKey, change)).signed(by: root)
    }

    func grantChain(_ change: (inout Grant) -> Void = { _ in }) throws -> StatementChain {
        StatementChain([
            try adminLink(), try Statement.grant(changed(grant, change)).signed(by: admin),
        ])
    }

    /// A grant by an admin whose key was changed.
    func chainUnderAdmin(_ change: (inout AdminKey) -> Void) throws -> StatementChain {
        StatementChain([
            try adminLink(change), try Statement.grant(grant).signed(by: admin),
        ])
    }

    func tokenChain(_ change: (inout EnrolmentToken) -> Void = { _ in }) throws -> StatementChain {
        StatementChain([
            try adminLink(), try Statement.token(changed(token, change)).signed(by: admin),
        ])
    }

    func joinChain(_ change: (inout Grant) -> Void = { _ in }) throws -> StatementChain {
        try tokenChain().appending(
            try Statement.grant(changed(joinGrant, change)).signed(by: delegated))
    }

    /// A node's own grant by a token that was changed.
    func chainUnderToken(_ change: (inout EnrolmentToken) -> Void) throws -> StatementChain {
        try tokenChain(change).appending(
            try Statement.grant(joinGrant).signed(by: delegated))
    }

    func rotationChain(
        _ change: (inout KeyRotation) -> Void = { _ in }
    ) throws -> StatementChain {
        try grantChain().appending(
            try Statement.rotation(changed(rotation, change)).signed(by: node))
    }

    func listChain(_ list: RevocationList) throws -> StatementChain {
        StatementChain([try adminLink(), try Statement.revocations(list).signed(by: admin)])
    }

    func rootList(_ list: RevocationList) throws -> StatementChain {
        StatementChain([try Statement.revocations(list).signed(by: root)])
    }

    /// A verifier that holds a list by the root.
    func verifier(
        revoking revocations: Revocation..., in realm: RevocationList.Realm = .organisation
    ) throws -> Verifier {
        var verifier = verifier
        try verifier.acceptRevocations(
            try rootList(list(1, of: realm, revocations)), at: World.now)
        return verifier
    }
}

func changed<Value>(_ value: Value, _ change: (inout Value) -> Void) -> Value {
    var value = value
    change(&value)
    return value
}

/// Why `body` was refused; `nil` if it was not.
func reason<Result>(_ body: () throws -> Result) -> Refusal.Reason? {
    do {
        _ = try body()
        return nil
    } catch {
        return (error as? Refusal)?.reason
    }
}

extension Name: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) {
        guard let name = Name(text) else { preconditionFailure("no name: \(text)") }
        self = name
    }
}

extension IPPrefix: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) {
        guard let prefix = IPPrefix(text) else { preconditionFailure("no prefix: \(text)") }
        self = prefix
    }
}
