import Cryptography
import PacketMemory
import TestSupport
import Testing

struct HandshakeAEADTests {
    @Test(arguments: [0, 12, 32, 100], HandshakeCipher.allCases)
    func sealedFieldOpensOnlyUnchanged(count: Int, cipher: HandshakeCipher) {
        let plaintext = SeededGenerator.fixed(count)
        let source = ByteArena(plaintext), opened = ByteArena(count: count + 16)
        let sealed = ByteArena(count: count + 16)
        let key = Secret32.random()
        let associated = BLAKE2s.hash([1, 2, 3])
        HandshakeAEAD.seal(
            cipher, key: key, counter: 9, plaintext: source.whole.prefix(count),
            associated: associated, into: sealed.whole)
        func opens(_ counter: UInt64, _ associated: Digest32) -> Bool {
            HandshakeAEAD.open(
                cipher, key: key, counter: counter, ciphertext: sealed.whole,
                associated: associated, into: opened.whole)
        }
        #expect(opens(9, associated))
        #expect(opened.whole.prefix(count).bytes == plaintext)
        #expect(!opens(8, associated))
        #expect(!opens(9, BLAKE2s.hash([1, 2, 4])))
        for position in 0..<(count + 16) {
            sealed.whole[position] ^= 0x40
            #expect(!opens(9, associated))
            sealed.whole[position] ^= 0x40
        }
        for short in 0..<16 {
            let isAuthentic = HandshakeAEAD.open(
                cipher, key: key, counter: 9, ciphertext: sealed.whole.prefix(short),
                associated: associated, into: opened.whole)
            #expect(!isAuthentic)
        }
    }

    @Test func agreesWithThePacketCipher() {
        let key = Secret32.random()
        let source = ByteArena(SeededGenerator.fixed(48)), associated = BLAKE2s.hash([7])
        let sealed = ByteArena(count: 64), expected = ByteArena(count: 64)
        HandshakeAEAD.seal(
            key: key, counter: 0x0102_0304_0506_0708, plaintext: source.whole,
            associated: associated, into: sealed.whole)
        let nonce = ByteArena([0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1])
        associated.withBytes {
            PacketCipher(.libsodium).sealChaCha20Poly1305(
                key: key, nonce: nonce.whole, associated: $0, plaintext: source.whole,
                into: expected.whole)
        }
        #expect(sealed.whole.bytes == expected.whole.bytes)
    }

    /// The counter is big-endian with this cipher.
    @Test func aesGCMAgreesWithThePacketCipher() throws {
        let key = Secret32.random()
        let source = ByteArena(SeededGenerator.fixed(48)), associated = BLAKE2s.hash([7])
        let sealed = ByteArena(count: 64), expected = ByteArena(count: 64)
        HandshakeAEAD.seal(
            .aesGCM, key: key, counter: 0x0102_0304_0506_0708, plaintext: source.whole,
            associated: associated, into: sealed.whole)
        let nonce = ByteArena([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
        let found = AES256GCMKey.expand(key)
        let expanded = try #require(found)
        associated.withBytes {
            PacketCipher().sealAES256GCM(
                key: expanded, nonce: nonce.whole, associated: $0, plaintext: source.whole,
                into: expected.whole)
        }
        #expect(sealed.whole.bytes == expected.whole.bytes)
    }

    @Test func xChaCha20Poly1305MeetsWycheproof() throws {
        let count = try checkAEAD(
            "wycheproof_xchacha20_poly1305_test", nonceBits: 192, keyBits: 256
        ) { key, task in
            let key = Secret32(bytes: key)
            XChaCha20Poly1305.seal(
                key: key, nonce: task.nonce, plaintext: task.input, associated: task.associated,
                into: task.output)
        } open: { key, task in
            let key = Secret32(bytes: key)
            return XChaCha20Poly1305.open(
                key: key, nonce: task.nonce, ciphertext: task.input, associated: task.associated,
                into: task.output)
        }
        #expect(count == 306)
    }

    @Test func shortXChaChaInputIsRejected() {
        let key = Secret32.random()
        let bytes = ByteArena(SeededGenerator.fixed(40)), output = ByteArena(count: 40)
        for count in 0..<16 {
            let isAuthentic = XChaCha20Poly1305.open(
                key: key, nonce: bytes.whole.prefix(24), ciphertext: bytes.whole.prefix(count),
                associated: bytes.whole.prefix(0), into: output.whole)
            #expect(!isAuthentic)
        }
    }
}
