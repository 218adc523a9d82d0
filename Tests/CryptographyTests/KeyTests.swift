import Cryptography
import PacketMemory
import TestSupport
import Testing

struct KeyTests {
    private let text = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
    private let bytes = [UInt8](1...32)

    @Test func publicKeyTextRoundTrips() throws {
        let key = try #require(PublicKey(base64: text))
        #expect(key.bytes == bytes)
        #expect(key.base64 == text)
        let hex = try #require(PublicKey(hex: key.hex.uppercased()))
        #expect(hex == key)
        #expect(PublicKey(bytes: bytes) == key)
    }

    @Test(arguments: [
        "", "A", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyB=",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n",
        " AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHy_=",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e====",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh",
        "ÄQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
    ])
    func otherBase64IsRefused(text: String) {
        #expect(PublicKey(base64: text) == nil)
        #expect(PrivateKey(base64: text.utf8) == nil)
        #expect(PresharedKey(base64: text.utf8) == nil)
    }

    /// 44 bytes as UTF-8, two of them from one letter.
    @Test func lettersOutsideOfASCIIAreNoBase64() {
        for letter in ["é", "ÿ", "\u{80}", "\u{7ff}"] {
            for offset in stride(from: 0, to: 42, by: 7) {
                let start = text.index(text.startIndex, offsetBy: offset)
                let other = String(text[..<start]) + letter
                    + text[text.index(start, offsetBy: 2)...]
                #expect(other.utf8.count == 44)
                #expect(PublicKey(base64: other) == nil, "\(other)")
                #expect(PrivateKey(base64: other.utf8) == nil)
                #expect(PresharedKey(base64: other.utf8) == nil)
            }
        }
    }

    @Test func otherHexIsRefused() {
        let good = String(repeating: "0a", count: 32)
        #expect(PublicKey(hex: good) != nil)
        for text in ["", "0", String(good.dropLast()), good + "0", good + "00",
            String(good.dropLast()) + "g", String(good.dropLast(2)) + " 0",
            String(good.dropLast(3)) + ":0a"] {
            #expect(PublicKey(hex: text) == nil)
            #expect(PrivateKey(hex: text.utf8) == nil)
            #expect(PresharedKey(hex: text.utf8) == nil)
        }
    }

    @Test func otherSizesAreRefused() {
        for count in [0, 31, 33] {
            let bytes = [UInt8](repeating: 1, count: count)
            #expect(PublicKey(bytes: bytes) == nil)
            #expect(PrivateKey(bytes: bytes) == nil)
            #expect(PresharedKey(bytes: bytes) == nil)
            let isSecret = Secret32(copying: bytes) != nil
            #expect(!isSecret)
        }
    }

    @Test func publicKeysOrderAsBytes() throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            let shared = Int.random(in: 0...31, using: &random)
            let first = random.bytes(32)
            let second = first.prefix(shared) + random.bytes(32 - shared)
            let one = try #require(PublicKey(bytes: first))
            let other = try #require(PublicKey(bytes: [UInt8](second)))
            #expect((one < other) == first.lexicographicallyPrecedes(second))
            #expect((one == other) == (first == [UInt8](second)))
        }
    }

    @Test func privateKeyIsClamped() throws {
        let key = try #require(PrivateKey(bytes: [UInt8](repeating: 0xff, count: 32)))
        let clamped = "f8" + String(repeating: "ff", count: 30) + "7f"
        #expect(string(key.unsafeAppendHex) == clamped)
        let again = try #require(PrivateKey(base64: string(key.unsafeAppendBase64).utf8))
        #expect(again.isEqual(to: key))
        #expect(again.publicKey == key.publicKey)
        #expect(!PrivateKey.generate().isEqual(to: key))
    }

    @Test func presharedKeyKeepsItsBytes() throws {
        let key = try #require(PresharedKey(base64: text.utf8))
        #expect(key.withBytes { $0.bytes } == bytes)
        #expect(string(key.unsafeAppendBase64) == text)
        #expect(!key.isZero)
        let same = try #require(PresharedKey(hex: string(key.unsafeAppendHex).utf8))
        #expect(same.isEqual(to: key))
        let zero = try #require(PresharedKey(bytes: [UInt8](repeating: 0, count: 32)))
        #expect(zero.isZero)
        #expect(!PresharedKey.generate().isZero)
    }

    @Test func secretsCompareCloneAndWipe() {
        var secret = Secret32(bytes: bytes)
        let clone = secret.clone()
        let isEqual = secret.isEqual(to: clone), isZero = secret.isZero
        #expect(isEqual && !isZero)
        for position in 0..<32 {
            var other = bytes
            other[position] ^= 1
            let changed = Secret32(bytes: other)
            let isEqual = changed.isEqual(to: secret)
            #expect(!isEqual)
        }
        secret.wipe()
        #expect(secret.copyOfBytes() == [UInt8](repeating: 0, count: 32))
        #expect(clone.copyOfBytes() == bytes)
        #expect(Secret32.random().copyOfBytes() != Secret32.random().copyOfBytes())
    }

    @Test func randomBytesFillExactlyTheRegion() {
        let arena = ByteArena(count: 66)
        arena.whole.fill(with: 0)
        SecureRandom.fill(arena.whole.region(at: 1, count: 64))
        #expect(arena.whole[0] == 0 && arena.whole[65] == 0)
        #expect(Set(arena.whole.bytes).count > 16)
        #expect(Set((0..<16).map { _ in SecureRandom.uint32() }).count > 8)
    }
}

private func string(_ append: (inout [UInt8]) -> Void) -> String {
    var text: [UInt8] = []
    append(&text)
    return String(decoding: text, as: UTF8.self)
}
