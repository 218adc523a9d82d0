import Cryptography
import TestSupport
import Testing

@testable import ControlModel

struct RolloverTests {
    private let world = World()
    private let skew = TrustLimits.skewSecondsDefault

    private func text(_ change: (inout RootRollover) -> Void = { _ in }) throws -> String {
        try Statement.rollover(changed(world.rollover, change)).signed(by: world.root)
    }

    private func chain(byNext: Bool) throws -> StatementChain {
        let statement = Statement.admin(world.adminKey)
        return StatementChain([
            byNext ? try statement.signed(by: World.key(21)) : try statement.signed(by: world.root)
        ])
    }

    @Test func bothRootsCountUntilTheOldOneRetires() throws {
        var verifier = world.verifier
        let old = try chain(byNext: false), new = try chain(byNext: true)
        #expect(reason { try verifier.verifyAdmin(new, at: World.now) } == .unknownIssuer)
        try verifier.follow(try text(), at: World.now)
        #expect(reason { try verifier.verifyAdmin(new, at: World.now) } == nil)
        #expect(reason { try verifier.verifyAdmin(old, at: World.now) } == nil)
        let retired = world.rollover.retiresAt + skew
        #expect(reason { try verifier.verifyAdmin(old, at: retired - 1) } == nil)
        #expect(reason { try verifier.verifyAdmin(old, at: retired) } == .rootRetired)
        #expect(reason { try verifier.verifyAdmin(new, at: retired) } == nil)
    }

    @Test func aGrantEndsWithItsRetiringRoot() throws {
        var verifier = world.verifier
        try verifier.follow(try text { $0.retiresAt = World.now + 500 }, at: World.now)
        let verified = try verifier.verifyGrant(try world.grantChain(), at: World.now)
        #expect(verified.validUntil == World.now + 500)
    }

    /// The new root signs the admin's key again; the grant below it stays as it is.
    @Test func aGrantIsKeptAcrossTheRollover() throws {
        var verifier = world.verifier, memory = TrustMemory()
        let old = try world.grantChain()
        try memory.admit(try verifier.verifyGrant(old, at: World.now))
        try verifier.follow(try text { $0.retiresAt = World.now }, at: World.now)
        let new = StatementChain([try chain(byNext: true).links[0], old.links[1]])
        let later = World.now + skew
        #expect(reason { try verifier.verifyGrant(old, at: later) } == .rootRetired)
        let verified = try verifier.verifyGrant(new, at: later)
        #expect(verified.root == World.key(21).verifyingKey)
        #expect(reason { try memory.admit(verified) } == nil)
    }

    @Test func aRolloverCountsWithinItsTime() throws {
        let validity = world.rollover.validity, text = try text()
        for (now, expected): (Int64, Refusal.Reason?) in [
            (validity.from - skew - 1, .notYetValid), (validity.from - skew, nil),
            (validity.until + skew - 1, nil), (validity.until + skew, .expired),
        ] {
            var verifier = world.verifier
            #expect(reason { try verifier.follow(text, at: now) } == expected)
        }
        var verifier = world.verifier
        let longest = TrustLimits.rolloverSecondsMax
        #expect(
            reason {
                try verifier.follow(
                    try self.text { $0.validity = World.validity(-60, longest - 59) },
                    at: World.now)
            } == .validityTooLong)
        #expect(
            reason {
                try verifier.follow(
                    try self.text { $0.validity = World.validity(-60, longest - 60) },
                    at: World.now)
            } == nil)
    }

    @Test func theOldRootRetiresWithinTheRollover() throws {
        let validity = world.rollover.validity
        #expect(reason { try text { $0.retiresAt = validity.from } } == nil)
        #expect(reason { try text { $0.retiresAt = validity.from - 1 } } == .invalidField)
        #expect(reason { try text { $0.retiresAt = validity.until } } == nil)
        #expect(reason { try text { $0.retiresAt = validity.until + 1 } } == .invalidField)
    }

    /// Following again changes nothing, however late.
    @Test func aRolloverIsFollowedOnce() throws {
        var verifier = world.verifier
        let first = try text()
        try verifier.follow(first, at: World.now)
        let after = verifier
        #expect(reason { try verifier.follow(first, at: .max) } == nil)
        #expect(verifier == after)
        // A stolen old root cannot lead away those who followed.
        let evil = try text { $0.nextRoot = self.world.stranger.verifyingKey }
        #expect(reason { try verifier.follow(evil, at: World.now) } == .rolloverConflict)
        let later = try text { $0.retiresAt += 1 }
        #expect(reason { try verifier.follow(later, at: World.now) } == .rolloverConflict)
        #expect(verifier == after)
    }

    @Test func onlyARootRollsOver() throws {
        var verifier = world.verifier
        let statement = Statement.rollover(world.rollover)
        #expect(
            reason { try verifier.follow(try statement.signed(by: world.admin), at: World.now) }
                == .unknownIssuer)
        let valid = try text(), other = try text { $0.retiresAt += 1 }
        let parts = valid.split(separator: "."), otherParts = other.split(separator: ".")
        let spliced = "\(parts[0]).\(parts[1]).\(otherParts[2])"
        #expect(reason { try verifier.follow(spliced, at: World.now) } == .signatureInvalid)
        let root = world.root.verifyingKey
        #expect(
            reason { try verifier.follow(try text { $0.nextRoot = root }, at: World.now) }
                == .duplicateKey)
        #expect(verifier == world.verifier)
    }

    @Test func rootsFollowOneAnother() throws {
        var verifier = world.verifier
        for number: UInt64 in 0..<8 {
            let signer = number == 0 ? world.root.clone() : World.key(20 + number)
            let rollover = changed(world.rollover) {
                $0.nextRoot = World.key(21 + number).verifyingKey
            }
            try verifier.follow(try Statement.rollover(rollover).signed(by: signer), at: World.now)
        }
        let anchors = verifier.anchors.anchors
        #expect(anchors.count == TrustLimits.anchorsMax)
        #expect(anchors.last == RootAnchors.Anchor(key: World.key(28).verifyingKey))
        #expect(RootAnchors(restoring: anchors) == verifier.anchors)
        #expect(RootAnchors(restoring: []) == nil)
        #expect(RootAnchors(restoring: anchors + anchors) == nil)
    }
}
