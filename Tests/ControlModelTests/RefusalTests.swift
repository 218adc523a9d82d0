import Cryptography
import TestSupport
import Testing

@testable import ControlModel

/// Every reason has a case that leads to it; their limits are tested where they belong.
struct RefusalTests {
    private let world = World()

    @Test func everyReasonIsReached() throws {
        var found: [Refusal.Reason: Int] = [:]
        for scenario in scenarios {
            let refusal = try #require(reason(scenario))
            found[refusal, default: 0] += 1
        }
        for expected in Refusal.Reason.allCases {
            #expect(found[expected] == 1, "\(expected)")
        }
    }

    @Test func refusalsNameTheirReason() {
        #expect("\(Refusal(.expired))" == "expired")
        #expect("\(Refusal(.expired, "grant"))" == "expired: grant")
    }

    /// In the order of `Refusal.Reason`.
    private var scenarios: [() throws -> Void] {
        textScenarios + signerScenarios + timeScenarios + scopeScenarios + revocationScenarios
            + joinScenarios + memoryScenarios
    }

    private func verify(_ chain: StatementChain, at now: Int64 = World.now) throws {
        _ = try world.verifier.verifyGrant(chain, at: now)
    }

    private func payload(_ text: String, _ kind: StatementKind = .grant) throws {
        _ = try Statement(kind: kind, payload: [UInt8](text.utf8))
    }

    private func header(_ text: String) throws {
        _ = try Envelope(parsing: Base64URL.encode([UInt8](text.utf8)) + ".AAAA.AAAA")
    }

    private var textScenarios: [() throws -> Void] {
        [
            { try verify(StatementChain([String(repeating: "A", count: 3 << 20)])) },
            { try verify(StatementChain(["x"])) },
            { try verify(StatementChain(["!.!.!"])) },
            { try payload("{") },
            {
                try payload(
                    #"{"iat":1,"number":1,"organisation":true,"revoked":[],"v":1} "#,
                    .revocations)
            },
            { try payload(#"{"v":1}"#) },
            {
                try payload(
                    #"{"iat":1,"number":1,"organisation":true,"revoked":[],"v":1,"x":1}"#,
                    .revocations)
            },
            { try payload(#"{"v":"1"}"#) },
            { try header(#"{"alg":"none","kid":"","typ":"branchline-grant"}"#) },
            { try header(#"{"alg":"EdDSA","jwk":"","kid":"","typ":"branchline-grant"}"#) },
            { try header(#"{"alg":"EdDSA","kid":"","typ":"JWT"}"#) },
            { try payload(#"{"v":2}"#) },
        ]
    }

    private var signerScenarios: [() throws -> Void] {
        [
            { try verify(StatementChain([])) },
            { try verify(StatementChain([String](repeating: "", count: 5))) },
            {
                try verify(
                    StatementChain([try Statement.grant(world.grant).signed(by: world.admin)]))
            },
            {
                try verify(
                    StatementChain([try Statement.grant(world.grant).signed(by: world.root)]))
            },
            {
                let link = try world.adminLink()
                let parts = link.split(separator: ".")
                let zeros = String(repeating: "A", count: 86)
                try verify(StatementChain(["\(parts[0]).\(parts[1]).\(zeros)"]))
            },
            { try verify(try world.grantChain { $0.node = world.admin.verifyingKey }) },
            { try verify(try world.joinChain { $0.tenant = "beta" }) },
        ]
    }

    private var timeScenarios: [() throws -> Void] {
        [
            { try verify(try world.grantChain(), at: World.now - 30 * World.day) },
            { try verify(try world.grantChain(), at: World.now + 31 * World.day) },
            {
                try verify(
                    try world.grantChain { $0.validity = World.validity(0, 91 * World.day) })
            },
            {
                var verifier = world.verifier
                let text = try Statement.rollover(world.rollover).signed(by: world.root)
                try verifier.follow(text, at: World.now)
                let later = world.rollover.retiresAt + World.day
                _ = try verifier.verifyAdmin(StatementChain([try world.adminLink()]), at: later)
            },
            {
                var verifier = world.verifier
                for number: UInt64 in [21, 22] {
                    let next = World.key(number).verifyingKey
                    let rollover = changed(world.rollover) { $0.nextRoot = next }
                    let text = try Statement.rollover(rollover).signed(by: world.root)
                    try verifier.follow(text, at: World.now)
                }
            },
        ]
    }

    private var scopeScenarios: [() throws -> Void] {
        [
            { try verify(try world.grantChain { $0.tenant = "gamma" }) },
            { try verify(try world.grantChain { $0.role = .client }) },
            { try verify(try world.grantChain { $0.profile = .branchlineAES }) },
            { try verify(try world.grantChain { $0.ceiling = .token }) },
            { try verify(try world.joinChain { $0.addresses = ["10.0.0.0/8"] }) },
            { try verify(try world.joinChain { $0.routes = ["10.0.0.0/8"] }) },
            { try verify(try world.joinChain { $0.groups = [] }) },
        ]
    }

    private func verify(_ chain: StatementChain, revoking subject: Revocation.Subject) throws {
        let verifier = try world.verifier(
            revoking: Revocation(subject, until: World.now + World.day))
        _ = try verifier.verifyGrant(chain, at: World.now)
    }

    /// The second list on top of the first.
    private func accept(_ first: RevocationList, _ second: RevocationList) throws {
        var verifier = world.verifier
        try verifier.acceptRevocations(try world.listChain(first), at: World.now)
        try verifier.acceptRevocations(try world.listChain(second), at: World.now)
    }

    private var revocationScenarios: [() throws -> Void] {
        let entry = Revocation(.token(World.tokenID(1)), until: World.now + World.day)
        let one = world.list(1, of: .tenant("acme"), [entry])
        let two = world.list(2, of: .tenant("acme"))
        return [
            { try verify(try world.grantChain(), revoking: .admin(world.admin.verifyingKey)) },
            { try verify(try world.joinChain(), revoking: .token(World.tokenID(5))) },
            { try verify(try world.grantChain(), revoking: .node(world.node.verifyingKey)) },
            { try verify(try world.grantChain(), revoking: .publicKey(World.publicKey(7))) },
            { try accept(two, one) },
            { try accept(one, world.list(1, of: .tenant("acme"))) },
            { try accept(one, two) },
            {
                let verifier = Verifier(
                    anchors: RootAnchors(root: world.root.verifyingKey),
                    policy: try #require(TrustPolicy(revocationAgeSecondsMax: 1)))
                _ = try verifier.verifyGrant(try world.grantChain(), at: World.now)
            },
            { try verify(try world.grantChain { $0.serial = World.now + 1 }) },
        ]
    }

    private var joinScenarios: [() throws -> Void] {
        [
            { _ = try JoinText(parsing: "", at: World.now) },
            {
                _ = try JoinText(
                    root: world.root.verifyingKey, adminLink: try world.adminLink(),
                    token: world.token, key: world.stranger.clone(), signedBy: world.admin,
                    at: World.now)
            },
            { try verify(try world.joinChain { $0.token = World.tokenID(6) }) },
            {
                try verify(
                    try world.chainUnderToken { $0.validity = World.validity(-59, 100) })
            },
            { try verify(try world.chainUnderToken { $0.needsApproval = true }) },
            {
                try admit(
                    try world.joinChain(),
                    try world.joinChain { $0.node = World.key(44).verifyingKey })
            },
        ]
    }

    private func admit(_ chains: StatementChain...) throws {
        var memory = TrustMemory()
        for chain in chains {
            try memory.admit(try world.verifier.verifyGrant(chain, at: World.now))
        }
    }

    private var memoryScenarios: [() throws -> Void] {
        [
            { try admit(try world.grantChain(), try world.grantChain { $0.serial -= 1 }) },
            { try admit(try world.grantChain(), try world.grantChain { $0.groups = [] }) },
            {
                try admit(
                    try world.grantChain(),
                    try world.grantChain { $0.node = World.key(44).verifyingKey })
            },
            // Reached with a full memory in TrustMemoryTests.
            { throw Refusal(.memoryFull) },
        ]
    }
}
