import ControlModel
import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import NodeAgent

/// An organisation with one tenant, and nodes of it whose chains a coordinator may serve.
final class Network: Sendable {
    static let now: Int64 = 1_800_000_000
    static let day: Int64 = 86_400

    let root = Network.key(1), admin = Network.key(2)

    static func key(_ number: UInt64) -> SigningKey {
        var generator = SeededGenerator(seed: number)
        var seed = Secret32()
        ByteArena.withCopy(of: generator.bytes(32)) { bytes in
            seed.withMutableBytes { $0.copy(from: bytes) }
        }
        return SigningKey(seed: seed)
    }

    static func node(_ number: UInt64) -> VerifyingKey { key(100 + number).verifyingKey }

    static func publicKey(_ number: UInt8) -> PublicKey {
        // 32 bytes are always a key.
        PublicKey(bytes: [UInt8](repeating: number, count: 32)).unsafelyUnwrapped
    }

    func adminLink(
        tenants: TenantScope = .all, from: Int64 = -day, until: Int64 = 365 * day,
        by signer: borrowing SigningKey
    ) throws -> String {
        try Statement.admin(
            AdminKey(
                key: admin.verifyingKey, tenants: tenants, roles: Set(Role.allCases),
                profiles: Set(TunnelProfile.allCases), ceiling: .token,
                grantSeconds: 90 * Network.day, mayRevoke: true,
                validity: Network.validity(from, until))
        ).signed(by: signer)
    }

    static func validity(_ from: Int64, _ until: Int64) -> Validity {
        Validity(from: now + from, until: now + until).unsafelyUnwrapped
    }

    /// Node 0 is the one whose view is tested; its address ends with its number.
    func grant(
        _ number: UInt8, role: Role = .branch, _ change: (inout Grant) -> Void = { _ in }
    ) throws -> Grant {
        var grant = Grant(
            node: Network.node(UInt64(number)), serial: Network.now - 1_000 + Int64(number),
            publicKey: Network.publicKey(number + 1), tenant: try #require(Name("acme")),
            role: role, addresses: [try #require(IPPrefix("10.64.0.\(number)/32"))],
            profile: .wireguard, ceiling: .token,
            validity: Network.validity(-100, 30 * Network.day))
        change(&grant)
        return grant
    }

    func chain(_ grant: Grant) throws -> StatementChain {
        StatementChain([
            try adminLink(by: root), try Statement.grant(grant).signed(by: admin),
        ])
    }

    func peer(
        _ number: UInt8, role: Role = .branch, endpoint: String? = nil,
        priority: Int64? = nil, _ change: (inout Grant) -> Void = { _ in }
    ) throws -> CoordinatorAPI.Peer {
        var grant = try grant(number, role: role)
        change(&grant)
        return CoordinatorAPI.Peer(
            node: grant.node.base64URL, name: "node-\(number)", chain: try chain(grant).text,
            endpoint: endpoint, priority: priority)
    }

    /// A list by the admin.
    func revocations(
        _ number: Int64, organisation: Bool = false, _ revocations: [Revocation] = []
    ) throws -> String {
        let list = RevocationList(
            realm: organisation ? .organisation : .tenant(try #require(Name("acme"))),
            number: number, issuedAt: Network.now - 10, revocations: revocations)
        return StatementChain([
            try adminLink(by: root), try Statement.revocations(list).signed(by: admin),
        ]).text
    }

    static func revoking(
        _ number: UInt64, serial: Int64 = TrustLimits.integerMax
    ) -> Revocation {
        Revocation(.node(node(number)), serial: serial, until: now + 400 * day)
    }

    func state(
        own: String? = nil, role: Role = .gateway, _ peers: [CoordinatorAPI.Peer],
        tenantRevocations: String? = nil
    ) throws -> CoordinatorAPI.NetworkState {
        CoordinatorAPI.NetworkState(
            own: try own ?? chain(grant(0, role: role)).text, rollovers: [],
            organisationRevocations: nil, tenantRevocations: tenantRevocations, peers: peers,
            policy: nil, qos: nil)
    }

    /// Of a node that has just joined and was told of these peers.
    func view(
        role: Role = .gateway, _ peers: [CoordinatorAPI.Peer] = []
    ) throws -> NetworkView {
        var view = NetworkView(
            node: Network.node(0), tenant: try #require(Name("acme")),
            ownKeys: [Network.publicKey(1), Network.publicKey(200)],
            verifier: Verifier(anchors: RootAnchors(root: root.verifyingKey)),
            ownChain: try chain(grant(0, role: role)).text, at: Network.now)
        view.replace(with: try state(role: role, peers), number: 5, at: Network.now)
        return view
    }
}
