import TestSupport
import Testing

@testable import InferenceTraffic

/// However a conversation is cut into segments, it is told the same.
@Suite struct SplitTests {
    typealias Writer = HTTP2Writer

    static let conversations: [[Turn]] = [
        [
            .client(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n"
                    + "Content-Type: application/json\r\nx-slo-ttft-ms: 9\r\n\r\n"
                    + "01234567890123456789"),
            .server("HTTP/1.1 100 Continue\r\n\r\n"),
            .server(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    + "Transfer-Encoding: chunked\r\n\r\n1A\r\n{\"completion_tokens\": 345}\r\n"
                    + "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
            .client("\r\nHEAD /a HTTP/1.1\r\n\r\nGET /v1/files/x HTTP/1.1\r\n\r\n"),
            .server(
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nHTTP/1.1 404 Not Found\r\n"
                    + "Content-Length: 3\r\n\r\nabc"),
        ],
        [
            .client(
                Writer.preface + Writer.settings([(1, 8192), (5, 20_000)])
                    + Writer.frame(8, [0, 0, 1, 0])),
            .server(Writer.settings([(3, 100)]) + Writer.frame(4, flags: 1)),
            .client(
                Writer.frame(1, flags: 0x4, stream: 1, Writer.block(Writer.chat, indexing: true))
                    + Writer.frame(1, flags: 0x5, stream: 3, [0xC2, 0xC0, 0xBE])
                    + Writer.frame(
                        1, flags: 0x5, stream: 5,
                        [0x83, 0x87] + bytes(hex: "048cf1e3c2e5f23a6ba0ab90f4ff"))
                    + Writer.data(1, [UInt8](repeating: 3, count: 300), ends: true)),
            .server(
                Writer.headers(1, Writer.events)
                    + Writer.headers(3, HTTP2Tests.grpc)
                    + Writer.data(1, Array("{\"output_tokens\":17}".utf8))
                    + Writer.data(3, HTTP2Tests.message(40) + HTTP2Tests.message(0))
                    + Writer.frame(6, [0, 0, 0, 0, 0, 0, 0, 0])
                    + Writer.frame(0, flags: 8, stream: 1, [3, 1, 1, 0, 0, 0])
                    + Writer.headers(1, [("x", "y")], ends: true)),
        ],
        [.client([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), .server([0x16, 3, 3])],
        [
            .client("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            .client("Z\r\n"),
            .client("GET / HTTP/1.1\r\n\r\n"),
        ],
    ]

    /// Of the conversations byte by byte.
    static let expected = conversations.map { scanByteByByte($0, readsUsage: true) }

    @Test func theConversationsAreWhatTheyShouldBe() {
        let http1 = Self.expected[0]
        #expect(http1.reason == .none && http1.ended == 3 && http1.finished == 3)
        #expect(http1.interim == 1 && http1.tokens == 345 && http1.requestBytes == 20)
        #expect(http1.responses.map(\.status) == [200, 200, 404])
        #expect(http1.requests.map(\.path) == [.generation, .other, .files])
        let http2 = Self.expected[1]
        #expect(http2.reason == .none && http2.started == 3 && http2.ended == 3)
        #expect(http2.requests.map(\.path) == [.generation, .generation, .other])
        #expect(http2.finished == 1 && http2.streaming == 1 && http2.open == 2)
        #expect(http2.tokens == 17 && http2.requestBytes == 300)
        let tls = Self.expected[2]
        #expect(tls.reason == .finished && tls.proto == .tls)
        let wrong = Self.expected[3]
        #expect(wrong.reason == .malformed && wrong.started == 1 && wrong.ended == 0)
    }

    @Test(arguments: 1...30)
    func everyCutTellsTheSame(seed: Int) {
        print("split seed \(seed)")
        var random = SeededGenerator(seed: UInt64(seed))
        for (index, turns) in Self.conversations.enumerated() {
            var expected = Self.expected[index]
            var line = ScannedConnection()
            line.readsUsage = true
            let longest = [3, 20, 100, 3000].randomElement(using: &random)!
            for turn in turns {
                var start = 0
                while start < turn.bytes.count {
                    let count = Int.random(in: 1...longest, using: &random)
                    let end = min(start + count, turn.bytes.count)
                    line.send(turn.side, Array(turn.bytes[start..<end]))
                    start = end
                }
            }
            // Of several heads in one piece the last is told, and interim ones once.
            #expect(line.total.requests.last == expected.requests.last, "seed \(seed), \(index)")
            #expect(line.total.responses.last == expected.responses.last)
            #expect(line.total.requests.allSatisfy { expected.requests.contains($0) })
            expected.requests = line.total.requests
            expected.responses = line.total.responses
            #expect(line.total == expected, "seed \(seed), conversation \(index)")
        }
    }
}
