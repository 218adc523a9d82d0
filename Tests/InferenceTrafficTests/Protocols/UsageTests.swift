import TestSupport
import Testing

@testable import InferenceTraffic

@Suite struct UsageTests {
    static func turns(_ body: String) -> [Turn] {
        [
            .client("POST /v1/chat/completions HTTP/1.1\r\n\r\n"),
            .server("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body),
        ]
    }

    @Test(arguments: [
        ("{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}}", 12),
        ("{\"usage\":{\"output_tokens\" : 7 }}", 7),
        // A sum that grows is counted once.
        ("{\"output_tokens\":1}\n{\"output_tokens\":80}\n{\"output_tokens\":80}\n", 80),
        ("{\"completion_tokens_details\":{\"x\":5}}", 0),
        ("{\"completion_tokens\":null}", 0), ("{\"completion_tokens\":-5}", 0),
        ("{\"completion_tokens\":\"5\"}", 0), ("{\"xcompletion_tokens\":5}", 0),
        // What a model writes has its quotes escaped.
        ("{\"content\":\"\\\"completion_tokens\\\":5 \"}", 0),
        ("{\"\"output_tokens\":3}", 3),
        ("{\"completion_tokens\":99999999}", 99_999_999),
        ("{\"completion_tokens\":100000000}", 0),
        ("{\"completion_tokens\":123456789012345678901234567890}", 0),
    ])
    func usageRecordsAreCounted(body: String, tokens: Int) {
        #expect(scanByteByByte(Self.turns(body), readsUsage: true).tokens == tokens)
        var line = ScannedConnection()
        line.readsUsage = true
        for turn in Self.turns(body) { line.send(turn.side, turn.bytes) }
        #expect(line.total.tokens == tokens)
    }

    @Test func nobodyReadsWhatNobodyAskedFor() {
        let turns = Self.turns("{\"completion_tokens\":12}")
        #expect(scanByteByByte(turns, readsUsage: false).tokens == 0)
    }

    @Test func requestsAreNeverSearched() {
        let body = "{\"completion_tokens\":12}"
        let turns: [Turn] = [
            .client("POST / HTTP/1.1\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body)
        ]
        let total = scanByteByByte(turns, readsUsage: true)
        #expect(total.tokens == 0 && total.ended == 1)
    }

    @Test func eachAnswerIsCountedForItself() {
        let turns = Self.turns("{\"completion_tokens\":12}")
        #expect(scanByteByByte(turns + turns, readsUsage: true).tokens == 24)
    }

    @Test func chunksAndStreamsDoNotDisturbIt() {
        let chunked: [Turn] = [
            .client("GET / HTTP/1.1\r\n\r\n"),
            .server(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n\"complet\r\n"
                    + "B\r\nion_tokens\"\r\n3\r\n:42\r\n1\r\n}\r\n0\r\n\r\n"),
        ]
        #expect(scanByteByByte(chunked, readsUsage: true).tokens == 42)
        var line = HTTP2Tests.open()
        line.readsUsage = true
        for stream: UInt32 in [1, 3] {
            line.send(.client, HTTP2Writer.headers(stream, HTTP2Writer.chat, ends: true))
            line.send(.server, HTTP2Writer.headers(stream, HTTP2Writer.events))
        }
        line.send(.server, HTTP2Writer.data(1, Array("\"output_tok".utf8)))
        line.send(.server, HTTP2Writer.data(3, Array("\"output_tokens\":5,".utf8)))
        line.send(.server, HTTP2Writer.data(1, Array("ens\":6}".utf8), ends: true))
        #expect(line.total.tokens == 11)
    }
}
