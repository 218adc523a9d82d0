import Cryptography
import TestSupport
import Testing

@testable import ControlModel

/// Every limit in time, and a second beside it.
struct TimeTests {
    private let world = World()
    private let skew = TrustLimits.skewSecondsDefault

    private func verify(
        _ chain: StatementChain, at now: Int64, policy: TrustPolicy = TrustPolicy()
    ) -> Refusal.Reason? {
        let verifier = Verifier(
            anchors: RootAnchors(root: world.root.verifyingKey), policy: policy)
        return reason { try verifier.verifyGrant(chain, at: now) }
    }

    @Test func aGrantCountsWithinItsTimeAndTheSkew() throws {
        let chain = try world.grantChain(), validity = world.grant.validity
        #expect(verify(chain, at: validity.from - skew - 1) == .notYetValid)
        #expect(verify(chain, at: validity.from - skew) == nil)
        #expect(verify(chain, at: validity.until + skew - 1) == nil)
        #expect(verify(chain, at: validity.until + skew) == .expired)
        for now in [Int64.min, -1, 0] { #expect(verify(chain, at: now) == .notYetValid) }
        #expect(verify(chain, at: .max) == .expired)
    }

    @Test func theSkewIsBounded() throws {
        #expect(TrustPolicy(skewSeconds: -1) == nil)
        #expect(TrustPolicy(skewSeconds: 601) == nil)
        #expect(TrustPolicy(revocationAgeSecondsMax: -1) == nil)
        let chain = try world.grantChain(), validity = world.grant.validity
        for skew: Int64 in [0, 600] {
            let policy = try #require(TrustPolicy(skewSeconds: skew))
            #expect(verify(chain, at: validity.from - skew - 1, policy: policy) == .notYetValid)
            #expect(verify(chain, at: validity.from - skew, policy: policy) == nil)
            #expect(verify(chain, at: validity.until + skew - 1, policy: policy) == nil)
            #expect(verify(chain, at: validity.until + skew, policy: policy) == .expired)
        }
    }

    @Test func anExpiredAdminEndsItsGrants() throws {
        let chain = try world.chainUnderAdmin { $0.validity = World.validity(-50, 100) }
        #expect(verify(chain, at: World.now - 50 - skew - 1) == .notYetValid)
        #expect(verify(chain, at: World.now - 50 - skew) == nil)
        #expect(verify(chain, at: World.now + 100 + skew - 1) == nil)
        #expect(verify(chain, at: World.now + 100 + skew) == .expired)
        let verified = try world.verifier.verifyGrant(chain, at: World.now)
        #expect(verified.validUntil == World.now + 100)
    }

    @Test func anExpiredRotationEndsTheNewKey() throws {
        let chain = try world.rotationChain(), validity = world.rotation.validity
        #expect(verify(chain, at: validity.from - skew - 1) == .notYetValid)
        #expect(verify(chain, at: validity.from - skew) == nil)
        #expect(verify(chain, at: validity.until + skew - 1) == nil)
        #expect(verify(chain, at: validity.until + skew) == .expired)
    }

    @Test func noStatementCountsForTooLong() throws {
        let longest = 90 * World.day - 60
        #expect(
            verify(
                try world.grantChain { $0.validity = World.validity(-60, longest) }, at: World.now)
                == nil)
        #expect(
            verify(
                try world.grantChain { $0.validity = World.validity(-60, longest + 1) },
                at: World.now) == .validityTooLong)

        let admin = TrustLimits.adminSecondsMax
        #expect(
            verify(
                try world.chainUnderAdmin { $0.validity = World.validity(-1, admin - 1) },
                at: World.now) == nil)
        #expect(
            verify(
                try world.chainUnderAdmin { $0.validity = World.validity(-1, admin) },
                at: World.now) == .validityTooLong)

        let token = TrustLimits.tokenSecondsMax
        #expect(
            verify(
                try world.chainUnderToken { $0.validity = World.validity(-60, token - 60) },
                at: World.now) == nil)
        #expect(
            verify(
                try world.chainUnderToken { $0.validity = World.validity(-60, token - 59) },
                at: World.now) == .validityTooLong)

        let rotation = TrustLimits.grantSecondsMax
        #expect(
            verify(
                try world.rotationChain { $0.validity = World.validity(-30, rotation - 30) },
                at: World.now) == nil)
        #expect(
            verify(
                try world.rotationChain { $0.validity = World.validity(-30, rotation - 29) },
                at: World.now) == .validityTooLong)
    }

    @Test func timesAreWithinTheCalendar() {
        #expect(Validity(from: 0, until: 1) != nil)
        #expect(Validity(from: -1, until: 1) == nil)
        #expect(Validity(from: 1, until: 1) == nil)
        #expect(Validity(from: 2, until: 1) == nil)
        #expect(Validity(from: 0, until: TrustLimits.timeMax) != nil)
        #expect(Validity(from: 0, until: TrustLimits.timeMax + 1) == nil)
    }

    // Joining.

    @Test func aTokenCanBeUsedWithinItsTimeOnly() throws {
        let chain = try world.tokenChain(), validity = world.token.validity
        func use(at now: Int64) -> Refusal.Reason? {
            reason { try world.verifier.verifyToken(chain, at: now) }
        }
        #expect(use(at: validity.from - skew - 1) == .notYetValid)
        #expect(use(at: validity.from - skew) == nil)
        #expect(use(at: validity.until + skew - 1) == nil)
        #expect(use(at: validity.until + skew) == .expired)
    }

    /// The token ends joining, not what was joined.
    @Test func theJoinedGrantOutlivesItsToken() throws {
        let chain = try world.joinChain()
        let later = world.token.validity.until + skew
        #expect(reason { try world.verifier.verifyEnrolment(chain, at: later - 1) } == nil)
        #expect(reason { try world.verifier.verifyEnrolment(chain, at: later) } == .expired)
        #expect(verify(chain, at: later) == nil)
        #expect(verify(chain, at: world.grant.validity.until + skew) == .expired)
    }

    @Test func aJoinedGrantBeginsWithinItsToken() throws {
        let validity = world.token.validity
        func check(from: Int64) throws -> Refusal.Reason? {
            let chain = try world.joinChain {
                $0.serial = 1
                $0.validity = Validity(from: from, until: from + 7200).unsafelyUnwrapped
            }
            return verify(chain, at: from)
        }
        #expect(try check(from: validity.from - 1) == .issuedOutsideToken)
        #expect(try check(from: validity.from) == nil)
        #expect(try check(from: validity.until - 1) == nil)
        #expect(try check(from: validity.until) == .issuedOutsideToken)
    }

    @Test func aJoinedGrantLastsNoLongerThanItsTokenSays() throws {
        let seconds = world.token.grantSeconds
        #expect(
            verify(
                try world.joinChain { $0.validity = World.validity(-60, seconds - 60) },
                at: World.now) == nil)
        #expect(
            verify(
                try world.joinChain { $0.validity = World.validity(-60, seconds - 59) },
                at: World.now) == .validityTooLong)
    }

    /// Nobody blocks a node by using its numbers up.
    @Test func serialsStayBehindTheClock() throws {
        let from = world.grant.validity.from
        #expect(verify(try world.grantChain { $0.serial = from }, at: World.now) == nil)
        #expect(
            verify(try world.grantChain { $0.serial = from + 1 }, at: World.now) == .numberAhead)
        let turn = world.rotation.validity.from
        #expect(verify(try world.rotationChain { $0.turn = turn }, at: World.now) == nil)
        #expect(
            verify(try world.rotationChain { $0.turn = turn + 1 }, at: World.now) == .numberAhead)
    }
}
