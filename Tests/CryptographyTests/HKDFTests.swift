import Cryptography
import PacketMemory
import TestSupport
import Testing

/// The module's KDF_n against RFC 2104 and RFC 5869 spelled out over the streaming hash.
struct HKDFTests {
    private func hmac(_ key: [UInt8], _ data: [UInt8]) -> [UInt8] {
        let padded = key + [UInt8](repeating: 0, count: 64 - key.count)
        let inner = BLAKE2s.hash(padded.map { $0 ^ 0x36 } + data).bytes
        return BLAKE2s.hash(padded.map { $0 ^ 0x5c } + inner).bytes
    }

    private func outputs(_ chainingKey: [UInt8], _ input: [UInt8]) -> [[UInt8]] {
        let extracted = hmac(chainingKey, input)
        let first = hmac(extracted, [1])
        let second = hmac(extracted, first + [2])
        return [first, second, hmac(extracted, second + [3])]
    }

    @Test(arguments: [0, 1, 12, 31, 32, 33, 63, 64, 65, 128, 129, 300])
    func outputsMatchTheDefinition(inputCount: Int) {
        var random = SeededGenerator(seed: UInt64(inputCount))
        let start = random.bytes(32), input = random.bytes(inputCount)
        let expected = outputs(start, input)
        let arena = ByteArena(input)
        let region = arena.whole.prefix(inputCount)

        var chainingKey = Secret32(bytes: start)
        HKDFBLAKE2s.mix(&chainingKey, region)
        #expect(chainingKey.copyOfBytes() == expected[0])

        chainingKey = Secret32(bytes: start)
        var key = Secret32()
        HKDFBLAKE2s.mix(&chainingKey, region, key: &key)
        #expect(chainingKey.copyOfBytes() == expected[0])
        #expect(key.copyOfBytes() == expected[1])

        chainingKey = Secret32(bytes: start)
        var temporary = Secret32()
        HKDFBLAKE2s.mix(&chainingKey, region, temporary: &temporary, key: &key)
        #expect(chainingKey.copyOfBytes() == expected[0])
        #expect(temporary.copyOfBytes() == expected[1])
        #expect(key.copyOfBytes() == expected[2])
    }

    @Test func inputMayBeASecret() {
        var random = SeededGenerator(seed: 7)
        let start = random.bytes(32), shared = random.bytes(32)
        var chainingKey = Secret32(bytes: start)
        var key = Secret32()
        let secret = Secret32(bytes: shared)
        secret.withBytes { HKDFBLAKE2s.mix(&chainingKey, $0, key: &key) }
        #expect(key.copyOfBytes() == outputs(start, shared)[1])
    }
}
