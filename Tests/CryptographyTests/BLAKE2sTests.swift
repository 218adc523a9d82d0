import Cryptography
import PacketMemory
import TestSupport
import Testing

struct BLAKE2sTests {
    struct KnownAnswer: Decodable {
        let hash: String
        let `in`, key, out: HexBytes
    }

    private let answers: [KnownAnswer]

    init() throws {
        answers = try Vectors.load("blake2s_kat", as: [KnownAnswer].self)
            .filter { $0.hash == "blake2s" }
        try #require(answers.count == 512)
    }

    @Test func knownAnswersMatchInOneGo() {
        for answer in answers where answer.key.bytes.isEmpty {
            #expect(BLAKE2s.hash(answer.in.bytes).bytes == answer.out.bytes)
        }
    }

    @Test func knownAnswersMatchWhenSplitAnywhere() {
        for answer in answers {
            let input = ByteArena(answer.in.bytes), key = ByteArena(answer.key.bytes)
            let count = answer.in.bytes.count
            for split in Set([0, 1, 63, 64, 65, 128, count / 2, count]) where split <= count {
                var state = BLAKE2sState(key: key.whole.prefix(answer.key.bytes.count))
                state.update(input.whole.prefix(split))
                state.update(input.whole.region(at: split, count: count - split))
                #expect(state.finalize().bytes == answer.out.bytes)
            }
        }
    }

    @Test func twoPartsHashAsTheirConcatenation() {
        var random = SeededGenerator(seed: 1)
        for first in [0, 1, 31, 32, 33, 63, 64, 65, 130] {
            for second in [0, 1, 31, 32, 33, 63, 64, 65, 130] {
                let bytes = random.bytes(first + second)
                let arena = ByteArena(bytes)
                let digest = BLAKE2s.hash(
                    arena.whole.prefix(first), arena.whole.region(at: first, count: second))
                #expect(digest == BLAKE2s.hash(bytes))
                let running = BLAKE2s.hash(random.bytes(32))
                #expect(
                    BLAKE2s.hash(running, arena.whole.prefix(first))
                        == BLAKE2s.hash(running.bytes + bytes.prefix(first)))
            }
        }
    }

    @Test func macIsKeyedHashOfSixteenBytes() {
        var random = SeededGenerator(seed: 2)
        for keyCount in [0, 1, 16, 31, 32] {
            for count in [0, 1, 63, 64, 65, 116, 128, 200] {
                let key = ByteArena(random.bytes(keyCount)), data = ByteArena(random.bytes(count))
                let keyRegion = key.whole.prefix(keyCount), region = data.whole.prefix(count)
                var state = BLAKE2sState(outputCount: 16, key: keyRegion)
                state.update(region)
                let expected = ByteArena(count: 16)
                state.finalize(into: expected.whole)
                #expect(BLAKE2s.mac(key: keyRegion, region) == MAC16(copying: expected.whole))
            }
        }
    }

    /// The self-test of the specification: hashes of hashes over many lengths, keys and sizes.
    ///
    /// Source: RFC 7693, appendix E.
    @Test func specificationSelfTestPasses() {
        func sequence(_ count: Int, seed: UInt32) -> [UInt8] {
            var a = 0xdead_4bad &* seed
            var b: UInt32 = 1
            return (0..<count).map { _ in
                (a, b) = (b, a &+ b)
                return UInt8(truncatingIfNeeded: b >> 24)
            }
        }
        func hash(_ data: [UInt8], key: [UInt8] = [], outputCount: Int) -> [UInt8] {
            let data = ByteArena(data), output = ByteArena(count: outputCount)
            let keyArena = ByteArena(key)
            var state = BLAKE2sState(
                outputCount: outputCount, key: keyArena.whole.prefix(key.count))
            state.update(data.whole)
            state.finalize(into: output.whole)
            return output.whole.bytes
        }
        func hashOfNothing(outputCount: Int, key: [UInt8]) -> [UInt8] {
            let output = ByteArena(count: outputCount), keyArena = ByteArena(key)
            BLAKE2sState(outputCount: outputCount, key: keyArena.whole.prefix(key.count))
                .finalize(into: output.whole)
            return output.whole.bytes
        }
        var all: [UInt8] = []
        for outputCount in [16, 20, 28, 32] {
            for count in [0, 3, 64, 65, 255, 1024] {
                let data = sequence(count, seed: UInt32(count))
                let key = sequence(outputCount, seed: UInt32(outputCount))
                for key in [[], key] {
                    all +=
                        count == 0
                        ? hashOfNothing(outputCount: outputCount, key: key)
                        : hash(data, key: key, outputCount: outputCount)
                }
            }
        }
        #expect(
            BLAKE2s.hash(all).bytes
                == [UInt8](hex: "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"))
    }

    @Test func macsCompareByValue() {
        let bytes = [UInt8](1...16)
        let mac = ByteArena.withCopy(of: bytes) { MAC16(copying: $0) }
        #expect(mac.bytes == bytes)
        for position in 0..<16 {
            var other = bytes
            other[position] ^= 0x80
            #expect(mac != ByteArena.withCopy(of: other) { MAC16(copying: $0) })
        }
        let written = ByteArena(count: 16)
        mac.write(to: written.whole)
        #expect(MAC16(copying: written.whole) == mac)
    }
}
