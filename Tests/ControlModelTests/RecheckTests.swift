import Cryptography
import Testing

@testable import ControlModel

/// What is asked again of a grant is what was asked at first, without the signatures.
@Suite struct RecheckTests {
    private let world = World()
    private let now = World.now

    private func verified() throws -> VerifiedGrant {
        try world.verifier.verifyGrant(try world.rotationChain(), at: now)
    }

    @Test func grantCountsUntilItsFirstLinkEnds() throws {
        let verified = try verified(), verifier = world.verifier
        let end = verifier.end(of: verified)
        #expect(end == verified.validUntil + TrustLimits.skewSecondsDefault)
        try verifier.recheck(verified, at: end - 1)
        #expect(reason { try verifier.recheck(verified, at: end) } == .expired)
    }

    @Test func newListsAreHeeded() throws {
        let verified = try verified()
        let until = now + 1_000
        let revocations: [(Revocation, Refusal.Reason)] = [
            (Revocation(.admin(world.admin.verifyingKey), until: until), .adminRevoked),
            (Revocation(.node(world.node.verifyingKey), until: until), .nodeRevoked),
            (Revocation(.publicKey(World.publicKey(8)), until: until), .keyRevoked),
        ]
        for (revocation, expected) in revocations {
            let verifier = try world.verifier(revoking: revocation)
            #expect(reason { try verifier.recheck(verified, at: now) } == expected)
        }
        let serial = verified.grant.serial
        let before = try world.verifier(
            revoking: Revocation(.node(world.node.verifyingKey), serial: serial - 1, until: until))
        try before.recheck(verified, at: now)
    }

    @Test func retiredRootEndsWhatIsBelow() throws {
        let verified = try verified()
        var verifier = world.verifier
        let rollover = changed(world.rollover) { $0.retiresAt = now + 100 }
        try verifier.follow(try Statement.rollover(rollover).signed(by: world.root), at: now)
        let end = verifier.end(of: verified)
        #expect(end == now + 100 + TrustLimits.skewSecondsDefault)
        try verifier.recheck(verified, at: end - 1)
        #expect(reason { try verifier.recheck(verified, at: end) } == .rootRetired)
    }
}
