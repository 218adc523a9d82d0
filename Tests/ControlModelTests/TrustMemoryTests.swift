import Cryptography
import TestSupport
import Testing

@testable import ControlModel

struct TrustMemoryTests {
    private let world = World()

    private func grant(_ change: (inout Grant) -> Void = { _ in }) throws -> VerifiedGrant {
        try world.verifier.verifyGrant(try world.grantChain(change), at: World.now)
    }

    private func join(_ change: (inout Grant) -> Void = { _ in }) throws -> VerifiedGrant {
        try world.verifier.verifyGrant(try world.joinChain(change), at: World.now)
    }

    private func rotated(_ change: (inout KeyRotation) -> Void = { _ in }) throws -> VerifiedGrant {
        try world.verifier.verifyGrant(try world.rotationChain(change), at: World.now)
    }

    /// Admits `first`, then tells why `second` was refused; a refusal changes nothing.
    private func admit(_ first: VerifiedGrant..., then second: VerifiedGrant) -> Refusal.Reason? {
        var memory = TrustMemory()
        for verified in first { #expect(reason { try memory.admit(verified) } == nil) }
        let before = memory
        let found = reason { try memory.admit(second) }
        #expect(found == nil || memory == before)
        return found
    }

    @Test func theSameGrantIsAdmittedAgain() throws {
        #expect(admit(try grant(), then: try grant()) == nil)
        #expect(admit(try join(), then: try join()) == nil)
        #expect(admit(try rotated(), then: try rotated()) == nil)
    }

    @Test func aTokenIsForOneNode() throws {
        let other = World.key(44).verifyingKey
        // Both are right by themselves, and verified offline.
        let second = try join { $0.node = other; $0.publicKey = World.publicKey(9) }
        #expect(admit(try join(), then: second) == .tokenReplayed)
        #expect(admit(second, then: try join()) == .tokenReplayed)
        // The same node with another key would be a second use, too.
        #expect(
            admit(try join(), then: try join { $0.publicKey = World.publicKey(9); $0.serial += 1 })
                == .tokenReplayed)
        #expect(
            admit(try join(), then: try join { $0.node = other }) == .tokenReplayed)
        // It renews with the same key.
        #expect(admit(try join(), then: try join { $0.serial += 1 }) == nil)
    }

    @Test func grantsOfANodeOnlyGoForward() throws {
        #expect(admit(try grant(), then: try grant { $0.serial += 1 }) == nil)
        #expect(admit(try grant(), then: try grant { $0.serial -= 1 }) == .superseded)
        #expect(admit(try grant(), then: try grant { $0.ceiling = .bulk }) == .serialReused)
        // Rotations of one grant, too.
        #expect(admit(try grant(), then: try rotated()) == nil)
        #expect(admit(try rotated(), then: try grant()) == .superseded)
        #expect(admit(try rotated(), then: try rotated { $0.turn = 2 }) == nil)
        #expect(admit(try rotated { $0.turn = 2 }, then: try rotated()) == .superseded)
        #expect(
            admit(try rotated(), then: try rotated { $0.publicKey = World.publicKey(9) })
                == .serialReused)
        #expect(admit(try grant { $0.ceiling = .bulk }, then: try rotated()) == .serialReused)
    }

    @Test func aWireGuardKeyBelongsToOneNode() throws {
        let other = World.key(44).verifyingKey
        #expect(admit(try grant(), then: try grant { $0.node = other }) == .keyInUse)
        let free = try grant { $0.node = other; $0.publicKey = World.publicKey(9) }
        #expect(admit(try grant(), then: free) == nil)
        // Neither the key that a node rotated to nor the one before.
        for number: UInt8 in [7, 8] {
            let thief = try grant { $0.node = other; $0.publicKey = World.publicKey(number) }
            #expect(admit(try rotated(), then: thief) == .keyInUse)
        }
    }

    @Test func onlyAGatewayHasSeveralTenants() throws {
        #expect(admit(try grant(), then: try grant { $0.tenant = "beta" }) == .mixedTenant)
        func gateway(_ tenant: Name) throws -> VerifiedGrant {
            try grant { $0.tenant = tenant; $0.role = .gateway }
        }
        #expect(admit(try gateway("acme"), then: try gateway("beta")) == nil)
        #expect(
            admit(try gateway("acme"), then: try grant { $0.tenant = "beta" }) == .mixedTenant)
        #expect(admit(try grant(), then: try gateway("beta")) == .mixedTenant)
        // A gateway that became a branch is none any more.
        #expect(
            admit(
                try gateway("acme"), try grant { $0.serial += 1 }, then: try gateway("beta"))
                == .mixedTenant)
    }

    @Test func whatIsOverIsForgotten() throws {
        var memory = TrustMemory()
        try memory.admit(try join())
        let skew = TrustLimits.skewSecondsMax
        // As long as any older grant of the node could last.
        let until = world.grant.validity.from + TrustLimits.grantSecondsMax
        memory.forgetExpired(at: until + skew - 1)
        #expect(memory.count == 1)
        memory.forgetExpired(at: until + skew)
        #expect(memory == TrustMemory())
    }

    /// A token's use is remembered until no grant under it can count.
    @Test func aTokensUseIsRememberedLongEnough() throws {
        let other = World.key(44).verifyingKey
        let last = world.token.validity.until - 1
        let thief = try world.verifier.verifyGrant(
            try world.joinChain {
                $0.node = other
                $0.publicKey = World.publicKey(9)
                $0.validity = Validity(
                    from: last, until: last + self.world.token.grantSeconds).unsafelyUnwrapped
            }, at: last)
        var memory = TrustMemory()
        try memory.admit(try join())
        memory.forgetExpired(at: thief.grant.validity.until + TrustLimits.skewSecondsMax - 1)
        #expect(reason { try memory.admit(thief) } == .tokenReplayed)
    }

    @Test func aNodeThatRotatesFillsNoMemory() throws {
        var memory = TrustMemory()
        var generator = SeededGenerator(seed: 9)
        try memory.admit(try rotated())
        let template = try rotated()
        for turn in 2...Int64(TrustLimits.rememberedMax) + 2 {
            try memory.admit(template.turned(turn, generator.bytes(32)))
        }
        #expect(reason { try memory.admit(template.as(node: 5)) } == nil)
        // The grant's own key stays the node's.
        #expect(
            reason { try memory.admit(template.as(node: 6, with: template.grant.publicKey)) }
                == .keyInUse)
    }

    @Test func theMemoryIsBounded() throws {
        var memory = TrustMemory()
        let template = try grant()
        for index in 0..<TrustLimits.rememberedMax {
            try memory.admit(template.as(node: UInt64(index)))
        }
        let next = template.as(node: UInt64(TrustLimits.rememberedMax))
        #expect(reason { try memory.admit(next) } == .memoryFull)
        #expect(reason { try memory.admit(template.as(node: 5)) } == nil)
    }
}

extension VerifiedGrant {
    /// The same for another node, without the price of signing it.
    fileprivate func `as`(node number: UInt64, with key: PublicKey? = nil) -> VerifiedGrant {
        var generator = SeededGenerator(seed: number)
        let node = VerifyingKey(bytes: generator.bytes(32)).unsafelyUnwrapped
        let publicKey = key ?? PublicKey(bytes: generator.bytes(32)).unsafelyUnwrapped
        let grant = changed(grant) { $0.node = node; $0.publicKey = publicKey }
        return VerifiedGrant(
            grant: grant, publicKey: publicKey, rotation: nil, root: root, admin: admin,
            token: nil, validUntil: validUntil, signatures: signatures)
    }

    /// The same at another turn of its rotation.
    fileprivate func turned(_ turn: Int64, _ key: [UInt8]) -> VerifiedGrant {
        let publicKey = PublicKey(bytes: key).unsafelyUnwrapped
        return VerifiedGrant(
            grant: grant, publicKey: publicKey,
            rotation: rotation.map { changed($0) { $0.turn = turn; $0.publicKey = publicKey } },
            root: root, admin: admin, token: nil, validUntil: validUntil, signatures: signatures)
    }
}
