import Testing

@testable import PathBenchmark

@Suite struct TestMessageTests {
    static let token = TestToken(high: 0x0102_0304_0506_0708, low: .max)
    static let transfer = TestMessage.Transfer(
        byteCount: 1 << 40, nanoseconds: 2_000_000_000, retransmissions: 17)

    static let messages: [TestMessage] =
        [
            .greeting, .ready, .started, .stream(token), .progress(transfer), .result(transfer),
            .welcome(token, TestMessage.Offer(streamsMax: 16, millisecondsMax: 60_000)),
            .probe(token, number: .max), .probe(token, number: 0),
            .request(.up, streamCount: .max, milliseconds: .max),
        ]
        + TestMessage.Refusal.allCases.map { .refusal($0) }
        + TestMessage.Direction.allCases.map { .request($0, streamCount: 1, milliseconds: 1) }

    @Test(arguments: messages)
    func messagesSurviveTheWay(message: TestMessage) throws {
        #expect(message.bytes.count == TestMessage.byteCount)
        #expect(try TestMessage(message.bytes) == message)
    }

    @Test func bytesAreAsWritten() {
        let request = TestMessage.request(.down, streamCount: 0x0304, milliseconds: 0x0506_0708)
        #expect(
            request.bytes
                == Array("BLBENCH\n".utf8) + [1, 4, 2, 0, 5, 6, 7, 8]
                + [UInt8](repeating: 0, count: 40) + [3, 4, 0, 0, 0, 0, 0, 0])
    }

    @Test(arguments: [0, 1, 63, 65, 128])
    func otherLengthsAreForeign(count: Int) {
        let bytes = TestMessage.greeting.bytes + TestMessage.greeting.bytes
        #expect(throws: TestMessageFault.foreign) { try TestMessage(Array(bytes.prefix(count))) }
    }

    @Test func otherBeginningsAreForeign() {
        for index in 0..<8 {
            var bytes = TestMessage.greeting.bytes
            bytes[index] ^= 0x20
            #expect(throws: TestMessageFault.foreign) { try TestMessage(bytes) }
        }
        let text = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        let answer = Array(text.utf8.prefix(TestMessage.byteCount))
        #expect(throws: TestMessageFault.foreign) { try TestMessage(answer) }
    }

    @Test(arguments: [UInt8(0), 2, 255])
    func otherVersionsAreNamed(version: UInt8) {
        var bytes = TestMessage.result(Self.transfer).bytes
        bytes[8] = version
        #expect(throws: TestMessageFault.version(version)) { try TestMessage(bytes) }
    }

    @Test(arguments: [UInt8(0), 11, 255])
    func unknownKindsAreMalformed(kind: UInt8) {
        var bytes = TestMessage.greeting.bytes
        bytes[9] = kind
        #expect(throws: TestMessageFault.malformed) { try TestMessage(bytes) }
    }

    @Test func unknownCodesAreMalformed() {
        let request = TestMessage.request(.up, streamCount: 1, milliseconds: 1)
        for message in [TestMessage.refusal(.busy), request] {
            for code in [UInt8(0), 6, 255] {
                var bytes = message.bytes
                bytes[10] = code
                #expect(throws: TestMessageFault.malformed) { try TestMessage(bytes) }
            }
        }
    }

    @Test func unusedBytesAreZero() {
        for index in 10..<TestMessage.byteCount {
            var bytes = TestMessage.greeting.bytes
            bytes[index] = 1
            #expect(throws: TestMessageFault.malformed) { try TestMessage(bytes) }
        }
    }

    @Test func noBytesTrap() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = (0..<TestMessage.byteCount).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            bytes.replaceSubrange(0..<9, with: TestMessage.greeting.bytes.prefix(9))
            bytes[9] %= 12
            bytes[10] %= 8
            _ = try? TestMessage(bytes)
        }
    }

    @Test func ratesNeedTime() {
        #expect(Self.transfer.bitsPerSecond == Double(1 << 40) * 4)
        let early = TestMessage.Transfer(byteCount: 5, nanoseconds: 0, retransmissions: 0)
        #expect(early.bitsPerSecond == nil)
        let absurd = TestMessage.Transfer(
            byteCount: .max, nanoseconds: 1, retransmissions: .max)
        #expect(absurd.bitsPerSecond.map(\.isFinite) == true)
    }
}
