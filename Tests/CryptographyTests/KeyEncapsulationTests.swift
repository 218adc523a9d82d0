import Cryptography
import PacketMemory
import TestSupport
import Testing

struct KeyEncapsulationTests {
    private func key(_ first: UInt8 = 0) -> DecapsulationKey {
        let seed = (0..<64).map { UInt8($0) &+ first }
        return DecapsulationKey(
            keySeed: Secret32(bytes: Array(seed[..<32])),
            rejectionSeed: Secret32(bytes: Array(seed[32...])))
    }

    private func encapsulationKey(of key: DecapsulationKey) -> ByteArena {
        let arena = ByteArena(count: KeyEncapsulation.encapsulationKeyCount)
        key.writeEncapsulationKey(to: arena.whole)
        return arena
    }

    /// Computed with kyber-py 1.2.0: `ML_KEM_768.key_derive(bytes(range(64)))`, and the ciphertext
    /// of `_encaps_internal(ek, bytes(32))`.
    @Test func keyAndSecretAreThoseOfAnotherImplementation() throws {
        let encapsulationKey = encapsulationKey(of: key())
        #expect(
            BLAKE2s.hash(encapsulationKey.whole).bytes
                == bytes(hex: Self.encapsulationKeyHash))
        let ciphertext = ByteArena(try Vectors.load("mlkem768_ciphertext", as: HexBytes.self).bytes)
        var secret = Secret32()
        let isRead = key().decapsulate(ciphertext.whole, into: &secret)
        let found = secret.copyOfBytes()
        #expect(isRead)
        #expect(found == bytes(hex: Self.sharedSecret))
    }

    private static let encapsulationKeyHash =
        "d17574d4976b05ccfd85cfbeb1c2071fd3bebeddd32c83432fc29256ebfc3530"
    private static let sharedSecret =
        "8ee9f66abf0db554703287032d598fca71a93256dc9f109e9cf116f87f24a47d"

    @Test func bothSidesHaveTheSameSecret() {
        for first in [0, 1, 200] as [UInt8] {
            let key = key(first)
            let encapsulationKey = encapsulationKey(of: key)
            let ciphertext = ByteArena(count: KeyEncapsulation.ciphertextCount)
            var sent = Secret32(), received = Secret32()
            let isValid = KeyEncapsulation.encapsulate(
                to: encapsulationKey.whole, ciphertext: ciphertext.whole, into: &sent)
            #expect(isValid)
            let isRead = key.decapsulate(ciphertext.whole, into: &received)
            #expect(isRead)
            let areEqual = sent.isEqual(to: received)
            let isZero = sent.isZero
            #expect(areEqual && !isZero)
        }
    }

    @Test func alteredCiphertextGivesASecretOfNoUse() {
        let key = key()
        let encapsulationKey = encapsulationKey(of: key)
        let ciphertext = ByteArena(count: KeyEncapsulation.ciphertextCount)
        var sent = Secret32(), received = Secret32()
        _ = KeyEncapsulation.encapsulate(
            to: encapsulationKey.whole, ciphertext: ciphertext.whole, into: &sent)
        for offset in [0, 500, 959, 960, 1_087] {
            ciphertext.whole[offset] ^= 1
            let isRead = key.decapsulate(ciphertext.whole, into: &received)
            #expect(isRead)
            let areEqual = sent.isEqual(to: received)
            #expect(!areEqual)
            ciphertext.whole[offset] ^= 1
        }
        let isReadByAnother = self.key(9).decapsulate(ciphertext.whole, into: &received)
        #expect(isReadByAnother)
        let areEqual = sent.isEqual(to: received)
        #expect(!areEqual)
    }

    @Test func otherLengthsAreRefused() {
        let key = key()
        let memory = ByteArena(count: 2_000)
        memory.whole.fill(with: 0)
        encapsulationKey(of: key).whole.bytes.enumerated().forEach { memory.whole[$0] = $1 }
        let ciphertext = ByteArena(count: KeyEncapsulation.ciphertextCount)
        var secret = Secret32()
        for count in [0, 1, 32, 1_183, 1_185, 1_568] {
            let isValid = KeyEncapsulation.encapsulate(
                to: memory.whole.prefix(count), ciphertext: ciphertext.whole, into: &secret)
            #expect(!isValid)
        }
        for count in [0, 1, 1_087, 1_089, 1_568] {
            let isRead = key.decapsulate(memory.whole.prefix(count), into: &secret)
            #expect(!isRead)
        }
        let isUntouched = secret.isZero
        #expect(isUntouched)
    }

    @Test func everyCoefficientMustBeReduced() {
        let key = key()
        let arena = encapsulationKey(of: key)
        let ciphertext = ByteArena(count: KeyEncapsulation.ciphertextCount)
        var secret = Secret32()
        // Two coefficients of 12 bits in three bytes; the prime is 0xd01.
        for pair in stride(from: 0, to: 1_152, by: 3) {
            let good = (0..<3).map { arena.whole[pair + $0] }
            let first = [0x01, good[1] & 0xf0 | 0x0d, good[2]]
            let other = [good[0], good[1] & 0x0f | 0x10, 0xd0]
            for bad in [first, other] {
                for offset in 0..<3 { arena.whole[pair + offset] = bad[offset] }
                let isValid = KeyEncapsulation.encapsulate(
                    to: arena.whole, ciphertext: ciphertext.whole, into: &secret)
                #expect(!isValid, "bytes from \(pair)")
            }
            for offset in 0..<3 { arena.whole[pair + offset] = good[offset] }
        }
        let isValid = KeyEncapsulation.encapsulate(
            to: arena.whole, ciphertext: ciphertext.whole, into: &secret)
        #expect(isValid)
    }
}
