import Cryptography
import TestSupport
import Testing

struct X25519Tests {
    struct Group: Decodable {
        let tests: [Case]
    }

    struct Case: Decodable {
        let tcId: Int
        let comment: String
        let `public`, `private`, shared: HexBytes
        let result: WycheproofResult
    }

    @Test func wycheproofVectorsHold() throws {
        let file = try Vectors.load("wycheproof_x25519_test", as: WycheproofFile<Group>.self)
        var count = 0
        for test in file.testGroups.flatMap(\.tests) {
            count += 1
            let privateKey = try #require(PrivateKey(bytes: test.private.bytes))
            let publicKey = try #require(PublicKey(bytes: test.public.bytes))
            var shared = Secret32.random()
            let accepted = privateKey.sharedSecret(with: publicKey, into: &shared)
            // "acceptable" are unusual keys: all are computed, but an all-zero result is refused.
            let isZero = test.shared.bytes.allSatisfy { $0 == 0 }
            #expect(accepted == !isZero, "case \(test.tcId): \(test.comment)")
            #expect(shared.copyOfBytes() == test.shared.bytes, "case \(test.tcId)")
        }
        #expect(count == file.numberOfTests)
    }

    /// Source: RFC 7748, section 6.1.
    @Test func specificationExampleHolds() throws {
        let bob = try #require(
            PrivateKey(
                hex: "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb".utf8))
        let alice = try #require(
            PublicKey(hex: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"))
        #expect(
            bob.publicKey.hex == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        var shared = Secret32()
        let isShared = bob.sharedSecret(with: alice, into: &shared)
        #expect(isShared)
        #expect(
            shared.copyOfBytes()
                == [UInt8](hex: "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"))
    }

    @Test func bothSidesAgree() {
        for _ in 0..<20 {
            let first = PrivateKey.generate(), second = PrivateKey.generate()
            var one = Secret32(), other = Secret32()
            let forth = first.sharedSecret(with: second.publicKey, into: &one)
            let back = second.sharedSecret(with: first.publicKey, into: &other)
            #expect(forth && back)
            let agree = one.isEqual(to: other), isZero = one.isZero
            #expect(agree && !isZero)
        }
    }
}
