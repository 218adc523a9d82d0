import Cryptography
import PacketMemory
import TestSupport
import Testing

/// Every implementation against published vectors and against libsodium.
struct PacketCipherTests {
    @Test(arguments: PacketCipher.Implementation.allCases)
    func chaCha20Poly1305MeetsWycheproof(implementation: PacketCipher.Implementation) throws {
        let cipher = PacketCipher(implementation)
        let count = try checkAEAD(
            "wycheproof_chacha20_poly1305_test", nonceBits: 96, keyBits: 256
        ) { key, task in
            let key = Secret32(bytes: key)
            cipher.sealChaCha20Poly1305(
                key: key, nonce: task.nonce, associated: task.associated, plaintext: task.input,
                into: task.output)
        } open: { key, task in
            let key = Secret32(bytes: key)
            return cipher.openChaCha20Poly1305(
                key: key, nonce: task.nonce, associated: task.associated, input: task.input,
                into: task.output)
        }
        #expect(count == 316)
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func aes256GCMMeetsWycheproof(implementation: PacketCipher.Implementation) throws {
        let cipher = PacketCipher(implementation)
        guard cipher.expandAES256GCM(Secret32()) != nil else { return }
        let count = try checkAEAD(
            "wycheproof_aes_gcm_test", nonceBits: 96, keyBits: 256
        ) { key, task in
            let secret = Secret32(bytes: key)
            let key = try expand(secret, for: cipher)
            cipher.sealAES256GCM(
                key: key, nonce: task.nonce, associated: task.associated, plaintext: task.input,
                into: task.output)
        } open: { key, task in
            let secret = Secret32(bytes: key)
            let key = try expand(secret, for: cipher)
            return cipher.openAES256GCM(
                key: key, nonce: task.nonce, associated: task.associated, input: task.input,
                into: task.output)
        }
        #expect(count == 66)
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func everyLengthAgreesWithLibsodium(implementation: PacketCipher.Implementation) {
        let cipher = PacketCipher(implementation), reference = PacketCipher(.libsodium)
        var random = SeededGenerator(seed: 0x1420)
        for count in 0...2048 {
            let key = Secret32.random()
            let counter = random.next()
            let plaintext = random.bytes(count)
            let source = ByteArena(plaintext, extra: 16), original = ByteArena(plaintext)
            let expected = ByteArena(count: count + 16)
            reference.sealChaCha20Poly1305(
                key: key, counter: counter, plaintext: source.whole.prefix(count),
                into: expected.whole)
            // One byte beyond the tag shows whether anything is written there.
            let sealed = ByteArena([], extra: count + 17)
            cipher.sealChaCha20Poly1305(
                key: key, counter: counter, plaintext: source.whole.prefix(count),
                into: sealed.whole)
            #expect(holds(sealed, expected, count + 16))
            #expect(sealed.whole[count + 16] == 0xa5)
            #expect(holds(source, original, count))
            cipher.sealChaCha20Poly1305(
                key: key, counter: counter, plaintext: source.whole.prefix(count),
                into: source.whole)
            #expect(holds(source, expected, count + 16))

            let opened = ByteArena([], extra: count + 1)
            let isAuthentic = cipher.openChaCha20Poly1305(
                key: key, counter: counter, input: expected.whole, into: opened.whole)
            #expect(isAuthentic)
            #expect(holds(opened, original, count))
            #expect(opened.whole[count] == 0xa5)
            let isAuthenticInPlace = cipher.openChaCha20Poly1305(
                key: key, counter: counter, input: source.whole, into: source.whole)
            #expect(isAuthenticInPlace)
            #expect(holds(source, original, count))
        }
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func everyLengthOfAESAgreesWithLibsodium(implementation: PacketCipher.Implementation) throws {
        let cipher = PacketCipher(implementation), reference = PacketCipher(.libsodium)
        let secret = Secret32.random()
        guard let referenceKey = reference.expandAES256GCM(secret) else { return }
        let key = try expand(secret, for: cipher)
        var random = SeededGenerator(seed: 0x256)
        for count in 0...2048 {
            let plaintext = random.bytes(count), counter = random.next()
            let source = ByteArena(plaintext, extra: 16), original = ByteArena(plaintext)
            let expected = ByteArena(count: count + 16)
            reference.sealAES256GCM(
                key: referenceKey, counter: counter, plaintext: source.whole.prefix(count),
                into: expected.whole)
            cipher.sealAES256GCM(
                key: key, counter: counter, plaintext: source.whole.prefix(count),
                into: source.whole)
            #expect(holds(source, expected, count + 16))
            let isAuthentic = cipher.openAES256GCM(
                key: key, counter: counter, input: source.whole, into: source.whole)
            #expect(isAuthentic)
            #expect(holds(source, original, count))
        }
    }

    @Test(arguments: PacketCipher.Implementation.allCases, [0, 1, 16, 64, 100, 1420])
    func everyTamperedByteIsRejected(implementation: PacketCipher.Implementation, count: Int) {
        let cipher = PacketCipher(implementation)
        var random = SeededGenerator(seed: UInt64(count))
        let key = Secret32.random()
        let plaintext = ByteArena(random.bytes(count))
        let sealed = ByteArena(count: count + 16), opened = ByteArena(count: count + 1)
        let zeros = ByteArena([UInt8](repeating: 0, count: count))
        cipher.sealChaCha20Poly1305(
            key: key, counter: 5, plaintext: plaintext.whole.prefix(count), into: sealed.whole)
        for position in 0..<(count + 16) {
            let mask = UInt8(1) << UInt8(position % 8)
            sealed.whole[position] ^= mask
            let isAuthentic = cipher.openChaCha20Poly1305(
                key: key, counter: 5, input: sealed.whole, into: opened.whole)
            #expect(!isAuthentic)
            #expect(holds(opened, zeros, count))
            sealed.whole[position] ^= mask
        }
        let isAuthentic = cipher.openChaCha20Poly1305(
            key: key, counter: 5, input: sealed.whole, into: opened.whole)
        #expect(isAuthentic)
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func everyTamperedByteOfAESIsRejected(implementation: PacketCipher.Implementation) throws {
        let cipher = PacketCipher(implementation)
        guard let key = cipher.expandAES256GCM(Secret32.random()) else { return }
        let plaintext = ByteArena(SeededGenerator.fixed(1420))
        let sealed = ByteArena(count: 1436), opened = ByteArena(count: 1420)
        cipher.sealAES256GCM(key: key, counter: 5, plaintext: plaintext.whole, into: sealed.whole)
        for position in 0..<1436 {
            sealed.whole[position] ^= 1
            let isAuthentic = cipher.openAES256GCM(
                key: key, counter: 5, input: sealed.whole, into: opened.whole)
            #expect(!isAuthentic)
            sealed.whole[position] ^= 1
        }
        let isAuthentic = cipher.openAES256GCM(
            key: key, counter: 5, input: sealed.whole, into: opened.whole)
        #expect(isAuthentic)
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func otherKeyOtherCounterAndShortInputAreRejected(
        implementation: PacketCipher.Implementation
    ) {
        let cipher = PacketCipher(implementation)
        let keyBytes = SeededGenerator.fixed(32), otherKeyBytes = SeededGenerator.fixed(33).dropLast()
        let key = Secret32(bytes: keyBytes)
        let plaintext = ByteArena(SeededGenerator.fixed(64)), sealed = ByteArena(count: 80)
        let opened = ByteArena(count: 80)
        let counter: UInt64 = 1 << 32
        cipher.sealChaCha20Poly1305(
            key: key, counter: counter, plaintext: plaintext.whole, into: sealed.whole)
        func opens(_ key: [UInt8], _ counter: UInt64, _ input: ByteRegion) -> Bool {
            cipher.openChaCha20Poly1305(
                key: Secret32(bytes: key), counter: counter, input: input, into: opened.whole)
        }
        #expect(opens(keyBytes, counter, sealed.whole))
        #expect(!opens(keyBytes, 0, sealed.whole))
        #expect(!opens(keyBytes, counter + 1, sealed.whole))
        #expect(!opens([UInt8](otherKeyBytes), counter, sealed.whole))
        for count in 0..<80 { #expect(!opens(keyBytes, counter, sealed.whole.prefix(count))) }
        guard let expanded = cipher.expandAES256GCM(key) else { return }
        for count in 0..<16 {
            let isAuthentic = cipher.openAES256GCM(
                key: expanded, counter: 0, input: sealed.whole.prefix(count),
                into: opened.whole)
            #expect(!isAuthentic)
        }
    }

    @Test(arguments: PacketCipher.Implementation.allCases)
    func sourceMayChangeRightAfterSealing(implementation: PacketCipher.Implementation) {
        let cipher = PacketCipher(implementation)
        let key = Secret32.random()
        // More packets than the library has job slots, sealed from one reused source.
        let source = ByteArena(count: 96)
        let datagrams = ByteArena(count: 600 * 112), opened = ByteArena(count: 96)
        for index in 0..<600 {
            source.whole.fill(with: UInt8(truncatingIfNeeded: index))
            cipher.sealChaCha20Poly1305(
                key: key, counter: UInt64(index), plaintext: source.whole,
                into: datagrams.whole.region(at: index * 112, count: 112))
            source.whole.fill(with: 0xff)
        }
        for index in 0..<600 {
            let isAuthentic = cipher.openChaCha20Poly1305(
                key: key, counter: UInt64(index),
                input: datagrams.whole.region(at: index * 112, count: 112),
                into: opened.whole)
            #expect(isAuthentic)
            #expect(
                opened.whole.bytes
                    == [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 96))
        }
    }

    @Test func choiceIsStableAndNamed() {
        let cipher = PacketCipher()
        #expect(cipher.implementation == PacketCipher.fastest())
        #if arch(x86_64)
        #expect(cipher.summary.hasPrefix("libipsec-mb "))
        #endif
        #expect(PacketCipher(.libsodium).summary.hasPrefix("libsodium "))
    }
}

private func expand(
    _ secret: borrowing Secret32, for cipher: PacketCipher
) throws -> AES256GCMKey {
    let key = cipher.expandAES256GCM(secret)
    return try #require(key)
}

/// Whether two blocks of memory begin with the same `count` bytes.
private func holds(_ first: ByteArena, _ second: ByteArena, _ count: Int) -> Bool {
    first.whole.prefix(count).bytes == second.whole.prefix(count).bytes
}
