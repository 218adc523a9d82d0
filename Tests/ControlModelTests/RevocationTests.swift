import Cryptography
import TestSupport
import Testing

@testable import ControlModel

struct RevocationTests {
    private let world = World()
    private let far = World.now + 400 * World.day

    private func verify(
        _ chain: StatementChain, _ verifier: Verifier
    ) -> Refusal.Reason? {
        reason { try verifier.verifyGrant(chain, at: World.now) }
    }

    @Test func aRevokedAdminSignsNothing() throws {
        let revocation = Revocation(.admin(world.admin.verifyingKey), until: far)
        let verifier = try world.verifier(revoking: revocation)
        #expect(verify(try world.grantChain(), world.verifier) == nil)
        #expect(verify(try world.grantChain(), verifier) == .adminRevoked)
        #expect(verify(try world.joinChain(), verifier) == .adminRevoked)
        #expect(verify(try world.rotationChain(), verifier) == .adminRevoked)
        let admin = StatementChain([try world.adminLink()])
        #expect(reason { try verifier.verifyAdmin(admin, at: World.now) } == .adminRevoked)
        #expect(
            reason { try verifier.verifyToken(try world.tokenChain(), at: World.now) }
                == .adminRevoked)
        var changing = verifier
        let list = try world.listChain(world.list(2, of: .tenant("acme")))
        #expect(
            reason { try changing.acceptRevocations(list, at: World.now) } == .adminRevoked)
        let other = Revocation(.admin(world.stranger.verifyingKey), until: far)
        #expect(verify(try world.grantChain(), try world.verifier(revoking: other)) == nil)
    }

    @Test func aRevokedTokenEndsItsNode() throws {
        let verifier = try world.verifier(
            revoking: Revocation(.token(World.tokenID(5)), until: far))
        #expect(verify(try world.joinChain(), verifier) == .tokenRevoked)
        #expect(
            reason { try verifier.verifyToken(try world.tokenChain(), at: World.now) }
                == .tokenRevoked)
        #expect(verify(try world.grantChain(), verifier) == nil)
        let other = try world.verifier(revoking: Revocation(.token(World.tokenID(6)), until: far))
        #expect(verify(try world.joinChain(), other) == nil)
    }

    @Test func aNodeIsRevokedUpToASerial() throws {
        let serial = world.grant.serial, node = world.node.verifyingKey
        for (revoked, expected): (Int64, Refusal.Reason?) in [
            (serial - 1, nil), (serial, .nodeRevoked), (serial + 1, .nodeRevoked),
        ] {
            let verifier = try world.verifier(
                revoking: Revocation(.node(node), serial: revoked, until: far))
            #expect(verify(try world.grantChain(), verifier) == expected)
            #expect(verify(try world.rotationChain(), verifier) == expected)
        }
        let forever = try world.verifier(revoking: Revocation(.node(node), until: far))
        #expect(
            verify(try world.grantChain { $0.serial = $0.validity.from }, forever)
                == .nodeRevoked)
    }

    /// A node whose key was stolen goes on with the key that it rotated to.
    @Test func aRevokedKeyIsUsedByNobody() throws {
        let old = try world.verifier(
            revoking: Revocation(.publicKey(World.publicKey(7)), until: far))
        #expect(verify(try world.grantChain(), old) == .keyRevoked)
        #expect(verify(try world.rotationChain(), old) == nil)
        let new = try world.verifier(
            revoking: Revocation(.publicKey(World.publicKey(8)), until: far))
        #expect(verify(try world.grantChain(), new) == nil)
        #expect(verify(try world.rotationChain(), new) == .keyRevoked)
    }

    @Test func aTenantsListEndsAtTheTenant() throws {
        let all = [
            Revocation(.admin(world.admin.verifyingKey), until: far),
            Revocation(.node(world.node.verifyingKey), until: far),
            Revocation(.publicKey(World.publicKey(7)), until: far),
        ]
        for revocation in all {
            let verifier = try world.verifier(revoking: revocation, in: .tenant("acme"))
            #expect(verify(try world.grantChain(), verifier) != nil)
            #expect(verify(try world.grantChain { $0.tenant = "beta" }, verifier) == nil)
        }
    }

    // Who signs lists.

    @Test func anAdminRevokesWithinItsTenants() throws {
        func accept(
            _ realm: RevocationList.Realm, _ change: (inout AdminKey) -> Void = { _ in }
        ) throws -> Refusal.Reason? {
            var verifier = world.verifier
            let chain = StatementChain([
                try world.adminLink(change),
                try Statement.revocations(world.list(1, of: realm)).signed(by: world.admin),
            ])
            return reason { try verifier.acceptRevocations(chain, at: World.now) }
        }
        #expect(try accept(.tenant("acme")) == nil)
        #expect(try accept(.tenant("gamma")) == .tenantOutOfScope)
        #expect(try accept(.organisation) == .tenantOutOfScope)
        #expect(try accept(.organisation) { $0.tenants = .all } == nil)
        #expect(try accept(.tenant("gamma")) { $0.tenants = .all } == nil)
        #expect(try accept(.tenant("acme")) { $0.mayRevoke = false } == .keyNotAllowed)
    }

    // Which lists replace which.

    @Test func numbersOnlyGrow() throws {
        var verifier = world.verifier
        try verifier.acceptRevocations(try world.rootList(world.list(5)), at: World.now)
        let held = verifier
        #expect(
            reason {
                try verifier.acceptRevocations(try world.rootList(world.list(4)), at: World.now)
            } == .revocationListBackwards)
        // The same list again is no news; another list of that number is a lie.
        #expect(
            reason {
                try verifier.acceptRevocations(try world.rootList(world.list(5)), at: World.now)
            } == nil)
        let other = world.list(5, [Revocation(.token(World.tokenID(1)), until: far)])
        #expect(
            reason { try verifier.acceptRevocations(try world.rootList(other), at: World.now) }
                == .revocationListConflict)
        #expect(verifier == held)
        #expect(
            reason {
                try verifier.acceptRevocations(try world.rootList(world.list(6)), at: World.now)
            } == nil)
        #expect(verifier.revocations.list(of: .organisation)?.number == 6)
        // Realms count for themselves.
        let tenant = try world.rootList(world.list(1, of: .tenant("acme")))
        #expect(reason { try verifier.acceptRevocations(tenant, at: World.now) } == nil)
    }

    @Test func numbersAndTimesStayBehindTheClock() throws {
        let skew = TrustLimits.skewSecondsDefault
        func accept(number: Int64, issuedAt: Int64) throws -> Refusal.Reason? {
            var verifier = world.verifier
            let list = RevocationList(
                realm: .organisation, number: number, issuedAt: issuedAt, revocations: [])
            return reason {
                try verifier.acceptRevocations(try world.rootList(list), at: World.now)
            }
        }
        #expect(try accept(number: World.now, issuedAt: World.now) == nil)
        #expect(try accept(number: World.now + 1, issuedAt: World.now) == .numberAhead)
        #expect(try accept(number: 1, issuedAt: World.now + skew) == nil)
        #expect(try accept(number: 1, issuedAt: World.now + skew + 1) == .notYetValid)
    }

    @Test func entriesStayUntilTheyHaveExpired() throws {
        let skew = TrustLimits.skewSecondsDefault
        let node = world.node.verifyingKey
        let entry = Revocation(.node(node), serial: 50, until: World.now + 1000)
        func replace(
            by entries: [Revocation], at now: Int64, isByRoot: Bool = false
        ) throws -> Refusal.Reason? {
            var verifier = world.verifier
            try verifier.acceptRevocations(
                try world.listChain(world.list(1, of: .tenant("acme"), [entry])), at: World.now)
            let next = world.list(2, of: .tenant("acme"), entries)
            let chain = isByRoot ? try world.rootList(next) : try world.listChain(next)
            return reason { try verifier.acceptRevocations(chain, at: now) }
        }
        #expect(try replace(by: [entry], at: World.now) == nil)
        let wider = Revocation(.node(node), serial: 51, until: World.now + 1001)
        #expect(try replace(by: [wider], at: World.now) == nil)
        for narrower in [
            [], [Revocation(.node(node), serial: 49, until: World.now + 1000)],
            [Revocation(.node(node), serial: 50, until: World.now + 999)],
            [Revocation(.admin(node), until: far)],
        ] {
            #expect(try replace(by: narrower, at: World.now) == .revocationListShrunk)
        }
        #expect(try replace(by: [], at: entry.until + skew - 1) == .revocationListShrunk)
        #expect(try replace(by: [], at: entry.until + skew) == nil)
        // The root undoes what a stolen key revoked.
        #expect(try replace(by: [], at: World.now, isByRoot: true) == nil)
    }

    /// What an admin's tool drops, no verifier misses, however its clock is set.
    @Test func aSuccessorIsAcceptedByEveryClock() throws {
        let policy = try #require(TrustPolicy(skewSeconds: 600))
        for offset: Int64 in [-1, 0, 1] {
            let entry = Revocation(.token(World.tokenID(1)), until: World.now)
            let first = world.list(1, [entry])
            let issuedAt = World.now + 2 * TrustLimits.skewSecondsMax + offset
            let second = first.successor(number: 2, issuedAt: issuedAt)
            #expect(second.entries.isEmpty == (offset >= 0))
            for clock in [issuedAt - 600, issuedAt, issuedAt + 600] {
                var verifier = Verifier(
                    anchors: RootAnchors(root: world.root.verifyingKey), policy: policy)
                let all: (inout AdminKey) -> Void = { $0.tenants = .all }
                for list in [first, second] {
                    let chain = StatementChain([
                        try world.adminLink(all),
                        try Statement.revocations(list).signed(by: world.admin),
                    ])
                    #expect(reason { try verifier.acceptRevocations(chain, at: clock) } == nil)
                }
            }
        }
    }

    // How old a list may be.

    @Test func theAgeIsThatOfTheNewestListOfTheTenant() throws {
        var verifier = world.verifier
        #expect(verifier.revocations.ageSeconds(for: "acme", at: World.now) == nil)
        try verifier.acceptRevocations(try world.rootList(world.list(1)), at: World.now)
        #expect(verifier.revocations.ageSeconds(for: "acme", at: World.now) == 30)
        var newer = world.list(1, of: .tenant("acme"))
        newer.issuedAt = World.now - 10
        try verifier.acceptRevocations(try world.rootList(newer), at: World.now)
        #expect(verifier.revocations.ageSeconds(for: "acme", at: World.now) == 10)
        #expect(verifier.revocations.ageSeconds(for: "beta", at: World.now) == 30)
        #expect(verifier.revocations.ageSeconds(of: .organisation, at: World.now) == 30)
        #expect(verifier.revocations.ageSeconds(of: .tenant("acme"), at: World.now) == 10)
        #expect(verifier.revocations.ageSeconds(of: .tenant("beta"), at: World.now) == nil)
        #expect(verifier.revocations.ageSeconds(for: "acme", at: World.now - 100) == 0)
    }

    @Test func aPolicyCanAskForFreshLists() throws {
        func verify(ageMax: Int64, lists: [RevocationList]) throws -> Refusal.Reason? {
            var verifier = Verifier(
                anchors: RootAnchors(root: world.root.verifyingKey),
                policy: try #require(TrustPolicy(revocationAgeSecondsMax: ageMax)))
            for list in lists {
                try verifier.acceptRevocations(try world.rootList(list), at: World.now)
            }
            return reason { try verifier.verifyGrant(try world.grantChain(), at: World.now) }
        }
        #expect(try verify(ageMax: 30, lists: []) == .revocationListStale)
        #expect(try verify(ageMax: 29, lists: [world.list(1)]) == .revocationListStale)
        #expect(try verify(ageMax: 30, lists: [world.list(1)]) == nil)
        #expect(
            try verify(ageMax: 30, lists: [world.list(1, of: .tenant("beta"))])
                == .revocationListStale)
    }

    /// After a restart the lists are in force at once, though their signer may have expired.
    @Test func listsAreRestoredFromTheVerifiersStorage() throws {
        var verifier = world.verifier
        let entry = Revocation(.node(world.node.verifyingKey), until: far)
        try verifier.acceptRevocations(
            try world.listChain(world.list(3, of: .tenant("acme"), [entry])), at: World.now)
        try verifier.acceptRevocations(try world.rootList(world.list(1)), at: World.now)
        var restored = Revocations()
        for text in verifier.revocations.texts { try restored.restore(text) }
        #expect(restored == verifier.revocations)
        #expect(reason { try restored.restore(try world.adminLink()) } == .wrongType)
        #expect(reason { try restored.restore("x") } == .notCompact)
    }

    @Test func ofTwoRevocationsTheWiderCounts() {
        let node = world.node.verifyingKey
        let list = world.list(
            1,
            [
                Revocation(.node(node), serial: 5, until: 10),
                Revocation(.node(node), serial: 3, until: 20),
            ])
        #expect(list.entries == [.node(node): Revocation(.node(node), serial: 5, until: 20)])
    }

    @Test func oneListNamesASubjectOnce() {
        let entry = #"{"token":"\#(World.tokenID(1))","until":1}"#
        func read(_ entries: String) -> Refusal.Reason? {
            let text = #"{"iat":1,"number":1,"organisation":true,"revoked":[\#(entries)],"v":1}"#
            return reason { try Statement(kind: .revocations, payload: [UInt8](text.utf8)) }
        }
        #expect(read(entry) == nil)
        #expect(read(entry + "," + entry) == .invalidField)
        // Two subjects in one entry, and entries in another order than the list's.
        let key = world.node.verifyingKey
        let node = #"{"node":"\#(key)","serial":1,"until":1}"#
        #expect(read(node + "," + entry) == nil)
        #expect(read(entry + "," + node) == .notCanonical)
        let both = #"{"node":"\#(key)","serial":1,"token":"\#(World.tokenID(1))","until":1}"#
        #expect(read(both) == .notCanonical)
    }
}
