import Cryptography
import PacketFormats
import TestSupport
import Testing

@testable import ControlModel

/// What admins sign again: of old chains only what once counted, and nothing wider.
@Suite struct RenewalTests {
    let world = World()

    private func renewed(
        _ chain: StatementChain, at now: Int64 = World.now, _ verifier: Verifier? = nil
    ) throws -> Grant {
        let verified = try (verifier ?? world.verifier).verifyPast(chain, at: now)
        return try #require(verified.renewed(at: now, above: 0, seconds: 90 * World.day))
    }

    // MARK: Old chains

    @Test func runningAndExpiredGrantsAreBelieved() throws {
        let chain = try world.grantChain()
        for now in [World.now, World.now + 31 * World.day, World.now + 3000 * World.day] {
            let verified = try world.verifier.verifyPast(chain, at: now)
            #expect(verified.grant == world.grant)
        }
    }

    @Test func requestsAndUsedUpTokensAreBelieved() throws {
        for needsApproval in [false, true] {
            let chain = try world.chainUnderToken { $0.needsApproval = needsApproval }
            let verified = try world.verifier.verifyPast(chain, at: World.now + 5 * World.day)
            #expect(verified.grant == world.joinGrant)
            #expect(verified.token?.needsApproval == needsApproval)
        }
    }

    @Test func rotatedKeyIsTheOneToGrant() throws {
        let grant = try renewed(try world.rotationChain())
        #expect(grant.publicKey == world.rotation.publicKey)
    }

    @Test func chainFromTheFutureIsRefused() throws {
        let chain = try world.grantChain { grant in
            grant.validity = World.validity(121, World.day)
        }
        #expect(reason { try world.verifier.verifyPast(chain, at: World.now) } == .notYetValid)
        #expect(reason { try world.verifier.verifyPast(chain, at: World.now + 1) } == nil)
    }

    @Test func forgedAndWidenedChainsAreRefused() throws {
        let now = World.now
        let forged = StatementChain([
            try world.adminLink(), try Statement.grant(world.grant).signed(by: world.stranger),
        ])
        #expect(reason { try world.verifier.verifyPast(forged, at: now) } == .unknownIssuer)
        let foreign = try world.grantChain { $0.tenant = "gamma" }
        #expect(reason { try world.verifier.verifyPast(foreign, at: now) } == .tenantOutOfScope)
        let wide = try world.joinChain { $0.routes = ["0.0.0.0/0"] }
        #expect(reason { try world.verifier.verifyPast(wide, at: now) } == .routeOutOfScope)
        let other = Verifier(anchors: RootAnchors(root: world.stranger.verifyingKey))
        #expect(
            reason { try other.verifyPast(try world.grantChain(), at: now) } == .unknownIssuer)
        #expect(
            reason { try world.verifier.verifyPast(try world.tokenChain(), at: now) }
                == .wrongType)
        #expect(
            reason { try world.verifier.verifyPast(StatementChain([]), at: now) } == .chainEmpty)
    }

    @Test func suspendedNodesAreBelievedAndRevokedOnesAreNot() throws {
        let until = World.now + 400 * World.day
        let chain = try world.grantChain()
        let suspended = try world.verifier(
            revoking: Revocation(
                .node(world.node.verifyingKey), serial: World.now, until: until),
            in: .tenant("acme"))
        #expect(reason { try suspended.verifyGrant(chain, at: World.now) } == .nodeRevoked)
        #expect(reason { try suspended.verifyPast(chain, at: World.now) } == nil)
        for (revocation, expected) in [
            (Revocation(.node(world.node.verifyingKey), until: until), Refusal.Reason.nodeRevoked),
            (Revocation(.admin(world.admin.verifyingKey), until: until), .adminRevoked),
            (Revocation(.publicKey(world.grant.publicKey), until: until), .keyRevoked),
        ] {
            let verifier = try world.verifier(revoking: revocation)
            #expect(reason { try verifier.verifyPast(chain, at: World.now) } == expected)
        }
        let verifier = try world.verifier(
            revoking: Revocation(.token(World.tokenID(5)), until: until), in: .tenant("acme"))
        #expect(
            reason { try verifier.verifyPast(try world.joinChain(), at: World.now) }
                == .tokenRevoked)
    }

    // MARK: New grants

    @Test func renewalChangesSerialAndValidityOnly() throws {
        let grant = try renewed(try world.joinChain())
        #expect(
            grant == changed(world.grant) { grant in
                grant.serial = World.now
                grant.validity = World.validity(0, 90 * World.day)
            })
    }

    @Test func serialsGrowPastGrantAndRevocation() throws {
        let verified = try world.verifier.verifyPast(try world.grantChain(), at: World.now)
        for (now, revoked, serial) in [
            (World.now, 0, World.now), (World.now, World.now, World.now + 1),
            (World.now - 100, 0, World.now - 99), (World.now, World.now - 1, World.now),
        ] {
            let grant = try #require(verified.renewed(at: now, above: revoked, seconds: 60))
            #expect(grant.serial == serial && grant.validity.from == serial)
            #expect(grant.validity.seconds == 60)
        }
        #expect(verified.renewed(at: World.now, above: 0, seconds: 0) == nil)
        #expect(
            verified.renewed(at: World.now, above: TrustLimits.integerMax - 1, seconds: 60) == nil)
    }

    // MARK: Lists

    @Test func suspensionHoldsForAllGrantsSoFarAndForNoLaterOne() throws {
        var verifier = world.verifier
        let verified = try verifier.verifyGrant(try world.grantChain(), at: World.now)
        let list = RevocationList.next(
            after: nil, in: .tenant("acme"), revoking: [verified.suspension(at: World.now)],
            at: World.now)
        #expect(list.number == 1)
        try verifier.acceptRevocations(try world.listChain(list), at: World.now)
        let withheld = try world.grantChain { grant in
            grant.serial = World.now
            grant.validity = World.validity(0, World.day)
        }
        #expect(reason { try verifier.verifyGrant(withheld, at: World.now) } == .nodeRevoked)
        let resumed = try #require(
            verified.renewed(at: World.now, above: World.now, seconds: World.day))
        let chain = StatementChain([
            try world.adminLink(), try Statement.grant(resumed).signed(by: world.admin),
        ])
        #expect(reason { try verifier.verifyGrant(chain, at: World.now) } == nil)
    }

    @Test func revocationHoldsForGoodForNodeKeysAndToken() throws {
        let verified = try world.verifier.verifyGrant(try world.joinChain(), at: World.now)
        let revocations = verified.revocations(at: World.now)
        #expect(
            Set(revocations.map(\.subject)) == [
                .node(world.node.verifyingKey), .publicKey(world.grant.publicKey),
                .token(World.tokenID(5)),
            ])
        #expect(revocations[0].serial == TrustLimits.integerMax)
        let last = World.now + TrustLimits.grantSecondsMax
        #expect(revocations.filter { $0.until < last }.map(\.subject) == [
            .token(World.tokenID(5))
        ])
        let rotated = try world.verifier.verifyGrant(try world.rotationChain(), at: World.now)
        #expect(
            Set(rotated.revocations(at: World.now).map(\.subject)).isSuperset(of: [
                .publicKey(world.grant.publicKey), .publicKey(world.rotation.publicKey),
            ]))
    }

    @Test func nextListKeepsWhatStillCountsAndGrowsByOne() throws {
        let kept = Revocation(.publicKey(World.publicKey(1)), until: World.now - 1199)
        let dropped = Revocation(.publicKey(World.publicKey(2)), until: World.now - 1200)
        let old = world.list(7, [kept, dropped])
        let added = Revocation(.publicKey(World.publicKey(3)), until: World.now)
        let next = RevocationList.next(
            after: old, in: .organisation, revoking: [added], at: World.now)
        #expect(next.number == 8 && next.issuedAt == World.now)
        #expect(Set(next.entries.values) == [kept, added])
    }

    @Test func nextListIsAcceptedThoughTheOtherClockWasAhead() throws {
        var verifier = world.verifier
        var old = world.list(World.now + 100, [])
        old.issuedAt = World.now + 100
        try verifier.acceptRevocations(try world.rootList(old), at: World.now)
        let next = RevocationList.next(
            after: old, in: .organisation, revoking: [], at: World.now)
        #expect(
            reason { try verifier.acceptRevocations(try world.rootList(next), at: World.now) }
                == nil)
    }

    @Test func adminsRevocationOutlastsAllItsStatements() {
        let revocation = world.adminKey.revocation(at: World.now)
        #expect(revocation.subject == .admin(world.admin.verifyingKey))
        #expect(revocation.until == World.now + TrustLimits.adminSecondsMax)
    }

    // MARK: Authority

    @Test func authoritySignsWithinItsScopeOnly() throws {
        let authority = try Authority(
            link: try world.adminLink(), verifier: world.verifier, at: World.now)
        let chain = try authority.chain(of: world.grant, signedBy: world.admin, at: World.now)
        #expect(chain == (try world.grantChain()))
        for (change, expected) in [
            ({ $0.tenant = "gamma" }, .tenantOutOfScope),
            ({ $0.role = .client }, .roleOutOfScope),
            ({ $0.ceiling = .token }, .classOutOfScope),
            ({ $0.validity = World.validity(0, 91 * World.day) }, .validityTooLong),
        ] as [((inout Grant) -> Void, Refusal.Reason)] {
            let grant = changed(world.grant, change)
            #expect(
                reason { try authority.chain(of: grant, signedBy: world.admin, at: World.now) }
                    == expected)
        }
        #expect(
            reason {
                try authority.chain(of: world.grant, signedBy: world.stranger, at: World.now)
            } == .unknownIssuer)
    }

    @Test func authorityDoesNotShrinkALastList() throws {
        let kept = Revocation(.publicKey(World.publicKey(1)), until: World.now + World.day)
        let verifier = try world.verifier(revoking: kept, in: .tenant("acme"))
        let authority = try Authority(
            link: try world.adminLink(), verifier: verifier, at: World.now)
        let shrunk = world.list(2, of: .tenant("acme"), [])
        #expect(
            reason { try authority.chain(of: shrunk, signedBy: world.admin, at: World.now) }
                == .revocationListShrunk)
        let grown = RevocationList.next(
            after: verifier.revocations.list(of: .tenant("acme")), in: .tenant("acme"),
            revoking: [], at: World.now)
        #expect(
            reason { try authority.chain(of: grown, signedBy: world.admin, at: World.now) } == nil)
    }

    @Test func expiredLinkIsNoAuthority() throws {
        let link = try world.adminLink()
        #expect(
            reason {
                try Authority(
                    link: link, verifier: world.verifier, at: World.now + 366 * World.day)
            } == .expired)
    }
}
