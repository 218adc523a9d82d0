import Cryptography
import PacketFormats
import TestSupport
import Testing

@testable import ControlModel

/// Who may sign what, and how far that goes.
struct ChainTests {
    private let world = World()

    private func verify(_ chain: StatementChain) throws -> VerifiedGrant {
        try world.verifier.verifyGrant(chain, at: World.now)
    }

    @Test func aGrantIsVerifiedDownFromTheRoot() throws {
        let verified = try verify(world.grantChain())
        #expect(verified.grant == world.grant)
        #expect(verified.publicKey == world.grant.publicKey)
        #expect(verified.root == world.root.verifyingKey)
        #expect(verified.admin == world.adminKey)
        #expect(verified.token == nil)
        #expect(verified.validUntil == world.grant.validity.until)
    }

    @Test func aNodeEnrolsItselfWithATokensKey() throws {
        let verified = try verify(world.joinChain())
        #expect(verified.grant == world.joinGrant)
        #expect(verified.token == world.token)
        #expect(verified.admin == world.adminKey)
    }

    @Test func aNodeRotatesItsKey() throws {
        let verified = try verify(world.rotationChain())
        #expect(verified.publicKey == World.publicKey(8))
        #expect(verified.grant == world.grant)
        #expect(verified.validUntil == world.rotation.validity.until)
        let joined = try world.joinChain().appending(
            try Statement.rotation(world.rotation).signed(by: world.node))
        #expect(try verify(joined).publicKey == World.publicKey(8))
    }

    @Test func theChainTextRoundTrips() throws {
        let chain = try world.joinChain()
        #expect(try StatementChain(parsing: chain.text) == chain)
        #expect(reason { try StatementChain(parsing: "") } == nil)
        #expect(reason { try verify(StatementChain(parsing: "")) } == .notCompact)
        let long = String(repeating: "~", count: 100_000)
        #expect(reason { try verify(StatementChain(parsing: long)) } == .chainTooLong)
        let limit = TrustLimits.revocationListBytesMax + TrustLimits.statementBytesMax
        #expect(
            reason { try StatementChain(parsing: String(repeating: "A", count: limit)) } == nil)
        #expect(
            reason { try StatementChain(parsing: String(repeating: "A", count: limit + 1)) }
                == .tooLarge)
    }

    @Test func chainsHaveALimit() throws {
        #expect(reason { try verify(StatementChain([])) } == .chainEmpty)
        let longest = try world.joinChain().appending(
            try Statement.rotation(world.rotation).signed(by: world.node))
        #expect(longest.links.count == TrustLimits.chainLinksMax)
        #expect(reason { try verify(longest) } == nil)
        #expect(reason { try verify(longest.appending(longest.links[3])) } == .chainTooLong)
        // Nothing follows a rotation or a list, however short the chain is.
        let rotated = try world.rotationChain()
        #expect(reason { try verify(rotated.appending(rotated.links[2])) } == .chainTooLong)
        let listed = try world.listChain(world.list(1, of: .tenant("acme")))
        #expect(reason { try verify(listed.appending(try world.grantChain().links[1])) }
            == .chainTooLong)
    }

    /// Every kind of statement, signed by every key at every place: only the right one counts.
    @Test func everyKeySignsItsKindsOnly() throws {
        let statements: [Statement] = [
            .rollover(world.rollover), .admin(world.adminKey), .token(world.token),
            .grant(world.grant), .grant(world.joinGrant), .rotation(world.rotation),
            .revocations(world.list(1, of: .tenant("acme"))),
        ]
        let places: [(chain: [String], allowed: Set<StatementKind>)] = [
            ([], [.admin, .revocations]),
            ([try world.adminLink()], [.token, .grant, .revocations]),
            ([try world.adminLink { $0.mayRevoke = false }], [.token, .grant]),
            (try world.tokenChain().links, [.joinGrant]),
            (try world.grantChain().links, [.rotation]),
        ]
        for (index, place) in places.enumerated() {
            for statement in statements {
                let link: String
                switch index {
                case 0: link = try statement.signed(by: world.root)
                case 1, 2: link = try statement.signed(by: world.admin)
                case 3: link = try statement.signed(by: world.delegated)
                default: link = try statement.signed(by: world.node)
                }
                let chain = StatementChain(place.chain + [link])
                let found = reason {
                    try ChainWalk(
                        chain, verifier: world.verifier, now: World.now, isTokenUsedNow: false)
                }
                let expected: Refusal.Reason? =
                    place.allowed.contains(statement.kind) ? nil : .keyNotAllowed
                #expect(found == expected, "\(statement.kind) at \(index)")
            }
        }
    }

    /// Another key of the chain, or one of nobody, where a certain key is expected.
    @Test func onlyTheNamedKeyContinuesAChain() throws {
        let link = try world.adminLink()
        let grant = Statement.grant(world.grant), join = Statement.grant(world.joinGrant)
        let token = try world.tokenChain()
        let rotation = Statement.rotation(world.rotation)
        let granted = try world.grantChain()
        for (chain, expected): (StatementChain, Refusal.Reason) in [
            (StatementChain([link, try grant.signed(by: world.root)]), .keyNotAllowed),
            (StatementChain([link, try grant.signed(by: world.stranger)]), .unknownIssuer),
            (StatementChain([try grant.signed(by: world.root)]), .keyNotAllowed),
            (StatementChain([try grant.signed(by: world.admin)]), .unknownIssuer),
            (token.appending(try join.signed(by: world.admin)), .keyNotAllowed),
            (token.appending(try grant.signed(by: world.admin)), .keyNotAllowed),
            (token.appending(try join.signed(by: world.root)), .keyNotAllowed),
            (token.appending(try join.signed(by: world.node)), .unknownIssuer),
            (granted.appending(try rotation.signed(by: world.admin)), .keyNotAllowed),
            (granted.appending(try rotation.signed(by: world.stranger)), .unknownIssuer),
        ] {
            #expect(reason { try verify(chain) } == expected)
        }
    }

    @Test func aLeafOfAnotherKindIsRefused() throws {
        let verifier = world.verifier
        let admin = StatementChain([try world.adminLink()])
        #expect(reason { try verifier.verifyAdmin(admin, at: World.now) } == nil)
        #expect(reason { try verifier.verifyGrant(admin, at: World.now) } == .wrongType)
        #expect(
            reason { try verifier.verifyGrant(try world.tokenChain(), at: World.now) }
                == .wrongType)
        #expect(
            reason {
                let list = try world.listChain(world.list(1, of: .tenant("acme")))
                return try verifier.verifyGrant(list, at: World.now)
            } == .wrongType)
        #expect(
            reason { try verifier.verifyAdmin(try world.grantChain(), at: World.now) }
                == .wrongType)
        #expect(
            reason { try verifier.verifyToken(try world.joinChain(), at: World.now) }
                == .wrongType)
        #expect(reason { try verifier.verifyToken(admin, at: World.now) } == .wrongType)
        #expect(
            reason { try verifier.verifyEnrolment(try world.grantChain(), at: World.now) }
                == .wrongType)
        var changing = verifier
        #expect(
            reason { try changing.acceptRevocations(try world.grantChain(), at: World.now) }
                == .wrongType)
        let notARollover = try world.adminLink()
        #expect(reason { try changing.follow(notARollover, at: World.now) } == .wrongType)
        #expect(changing == verifier)
    }

    @Test func oneKeyHasOnePlaceInAChain() throws {
        let root = world.root.verifyingKey, admin = world.admin.verifyingKey
        let delegated = world.delegated.verifyingKey
        #expect(
            reason { try verify(StatementChain([try world.adminLink { $0.key = root }])) }
                == .duplicateKey)
        for key in [root, admin] {
            #expect(
                reason { try verify(try world.tokenChain { $0.key = key }) } == .duplicateKey)
            #expect(reason { try verify(try world.grantChain { $0.node = key }) } == .duplicateKey)
        }
        for key in [root, admin, delegated] {
            #expect(
                reason { try verify(try world.joinChain { $0.node = key }) } == .duplicateKey)
        }
    }

    // What an admin may grant.

    @Test func aGrantIsNoWiderThanItsAdmin() throws {
        #expect(reason { try verify(try world.grantChain { $0.tenant = "beta" }) } == nil)
        #expect(
            reason { try verify(try world.grantChain { $0.tenant = "gamma" }) }
                == .tenantOutOfScope)
        #expect(reason { try verify(try world.chainUnderAdmin { $0.tenants = .all }) } == nil)
        #expect(
            reason { try verify(try world.chainUnderAdmin { $0.tenants = .only(["beta"]) }) }
                == .tenantOutOfScope)

        #expect(reason { try verify(try world.grantChain { $0.role = .gateway }) } == nil)
        #expect(
            reason { try verify(try world.grantChain { $0.role = .client }) } == .roleOutOfScope)

        #expect(
            reason { try verify(try world.grantChain { $0.profile = .branchlineAES }) }
                == .profileOutOfScope)
        #expect(
            reason {
                try verify(try world.chainUnderAdmin { $0.profiles = [.branchlineChaCha] })
            } == .profileOutOfScope)

        #expect(
            reason { try verify(try world.grantChain { $0.addresses = ["172.16.0.0/12"] }) } == nil)
    }

    @Test func everyClassIsWithinItselfAndThoseAbove() throws {
        let classes = ClassCeiling.allCases
        for (rank, ceiling) in classes.enumerated() {
            for (other, granted) in classes.enumerated() {
                let chain = StatementChain([
                    try world.adminLink { $0.ceiling = ceiling },
                    try Statement.grant(changed(world.grant) { $0.ceiling = granted })
                        .signed(by: world.admin),
                ])
                #expect(
                    reason { try verify(chain) } == (other >= rank ? nil : .classOutOfScope))
            }
        }
    }

    // What a token lets a node claim.

    @Test func aTokenIsNoWiderThanItsAdmin() throws {
        func check(_ change: (inout EnrolmentToken) -> Void) -> Refusal.Reason? {
            reason { try world.verifier.verifyToken(try world.tokenChain(change), at: World.now) }
        }
        #expect(check { _ in } == nil)
        #expect(check { $0.tenant = "beta" } == nil)
        #expect(check { $0.tenant = "gamma" } == .tenantOutOfScope)
        #expect(check { $0.role = .gateway } == nil)
        #expect(check { $0.role = .client } == .roleOutOfScope)
        #expect(check { $0.ceiling = .activation } == nil)
        #expect(check { $0.ceiling = .token } == .classOutOfScope)
        #expect(check { $0.profiles = [] } == nil)
        #expect(check { $0.profiles = [.wireguard, .branchlineAES] } == .profileOutOfScope)
        #expect(check { $0.grantSeconds = 90 * World.day } == nil)
        #expect(check { $0.grantSeconds = 90 * World.day + 1 } == .validityTooLong)
    }

    @Test func aJoiningNodeStaysWithinItsToken() throws {
        func check(_ change: (inout Grant) -> Void) -> Refusal.Reason? {
            reason { try verify(try world.joinChain(change)) }
        }
        #expect(check { _ in } == nil)
        #expect(check { $0.token = World.tokenID(6) } == .tokenMismatch)
        // The admin may grant in beta, too; this token may not.
        #expect(check { $0.tenant = "beta" } == .mixedTenant)
        #expect(check { $0.role = .gateway } == .roleOutOfScope)
        #expect(check { $0.ceiling = .bulk } == nil)
        #expect(check { $0.ceiling = .activation } == .classOutOfScope)
        #expect(check { $0.profile = .branchlineChaCha } == .profileOutOfScope)
        #expect(check { $0.groups = [] } == .groupOutOfScope)
        #expect(check { $0.groups = ["plants", "labs"] } == .groupOutOfScope)

        #expect(check { $0.addresses = ["10.64.0.0/16"] } == nil)
        #expect(check { $0.addresses = ["10.64.255.255/32"] } == nil)
        #expect(check { $0.addresses = ["10.65.0.0/32"] } == .addressOutOfScope)
        #expect(check { $0.addresses = ["10.64.0.0/15"] } == .addressOutOfScope)
        #expect(check { $0.addresses = ["10.64.0.2/32", "fd00::2/128"] } == .addressOutOfScope)
        #expect(check { $0.addresses = ["0.0.0.0/0"] } == .addressOutOfScope)

        #expect(check { $0.routes = [] } == nil)
        #expect(check { $0.routes = ["192.168.0.0/16", "fd00:7::/32"] } == nil)
        #expect(check { $0.routes = ["192.169.0.0/24"] } == .routeOutOfScope)
        #expect(check { $0.routes = ["fd00:7::/31"] } == .routeOutOfScope)
        #expect(check { $0.routes = ["::/0"] } == .routeOutOfScope)
        // An address range is no licence for routes.
        #expect(check { $0.routes = ["10.64.0.0/24"] } == .routeOutOfScope)
    }

    /// A later, narrower statement about the admin narrows the tokens that he signed before.
    @Test func theWholeChainCountsNotOnlyTheLastIssuer() throws {
        func check(_ change: (inout AdminKey) -> Void) throws -> Refusal.Reason? {
            var links = try world.joinChain().links
            links[0] = try world.adminLink(change)
            return reason { try verify(StatementChain(links)) }
        }
        #expect(try check { _ in } == nil)
        #expect(try check { $0.tenants = .only(["beta"]) } == .tenantOutOfScope)
        #expect(try check { $0.roles = [.gateway] } == .roleOutOfScope)
        #expect(try check { $0.ceiling = .bulk } == .classOutOfScope)
        #expect(try check { $0.profiles = [] } == .profileOutOfScope)
        #expect(try check { $0.key = self.world.stranger.verifyingKey } == .unknownIssuer)
    }

    @Test func aRotationBelongsToItsGrant() throws {
        #expect(reason { try verify(try world.rotationChain { $0.tenant = "beta" }) }
            == .mixedTenant)
        #expect(reason { try verify(try world.rotationChain { $0.serial -= 1 }) } == .superseded)
        #expect(reason { try verify(try world.rotationChain { $0.serial += 1 }) } == .superseded)
    }

    @Test func aTokenCanAskForApproval() throws {
        let chain = try world.chainUnderToken { $0.needsApproval = true }
        #expect(reason { try verify(chain) } == .approvalRequired)
        let request = try world.verifier.verifyEnrolment(chain, at: World.now)
        #expect(request.grant == world.joinGrant)
    }
}
