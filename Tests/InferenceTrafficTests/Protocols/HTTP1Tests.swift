import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

@Suite struct HTTP1Tests {
    static let chat = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"

    @Test func aStreamedAnswerIsSeenFromItsHeadToItsEnd() {
        var line = ScannedConnection()
        var events = line.client(
            Self.chat + "Content-Type: application/json\r\nContent-Length: 4\r\n"
                + "X-SLO-TTFT-ms:  250 \r\nx-gateway-inference-objective: Chat-Interactive\r\n"
                + "\r\n{")
        #expect(
            events.kinds == [.protocolKnown, .requestStarted, .requestHeaders])
        #expect(events.request.method == .post)
        #expect(events.request.path == .generation)
        #expect(events.request.contentType == .json)
        #expect(events.request.contentLength == 4)
        #expect(events.request.firstTokenMilliseconds == 250)
        #expect(events.request.objective == .interactive)
        #expect(events.requestBodyBytes == 1)
        #expect(events.openRequests == 1)
        events = line.client("..}")
        #expect(events.kinds == .requestEnded)
        events = line.server(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n")
        #expect(events.kinds == .responseHeaders)
        #expect(events.response.status == 200)
        #expect(events.response.isStreaming)
        #expect(events.tokenStreams == 1)
        events = line.server("6\r\ndata: \r\nA;x=1\r\n0123456789\r\n")
        #expect(events.kinds == .responseChunk)
        #expect(events.responseChunks == 2)
        #expect(events.responseBodyBytes == 16)
        events = line.server("0\r\nX-Trailer: 1\r\nContent-Length: 5\r\n\r\n")
        #expect(events.kinds == .responseEnded)
        #expect(events.tokenStreams == 0 && events.openRequests == 0)
    }

    @Test func manyRequestsOnOneConnectionAreCounted() {
        var line = ScannedConnection()
        for number in 0..<50 {
            line.client(Self.chat + "Content-Length: 10\r\n\r\n0123456789")
            let events = line.server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            #expect(events.responsesEnded == 1, "request \(number)")
        }
        #expect(line.total.started == 50 && line.total.ended == 50)
        #expect(line.total.finished == 50 && line.total.open == 0)
        #expect(line.total.requestBytes == 500 && line.total.responseBytes == 150)
    }

    @Test func pipelinedRequestsKeepTheirAnswersApart() {
        var line = ScannedConnection()
        let events = line.client(
            "HEAD / HTTP/1.1\r\n\r\n" + "GET /a HTTP/1.1\r\n\r\n" + Self.chat
                + "Content-Length: 2\r\n\r\nab\r\n")
        #expect(events.requestsStarted == 3 && events.requestsEnded == 3)
        #expect(events.openRequests == 3)
        // The first answer has a length and no body: it answers HEAD.
        let answers = line.server(
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                + "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
                + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        #expect(answers.responsesStarted == 3 && answers.responsesEnded == 3)
        #expect(answers.responseBodyBytes == 1 && answers.reason == .none)
    }

    @Test func morePipelinedRequestsThanAreFollowedEndTheScanner() {
        var line = ScannedConnection()
        for _ in 0..<ScanLimits.pipelineMax { line.client("GET / HTTP/1.1\r\n\r\n") }
        #expect(line.total.reason == .none)
        let events = line.client("GET / HTTP/1.1\r\n\r\n")
        #expect(events.reason == .tooMany)
    }

    @Test func interimResponsesAreNoAnswers() {
        var line = ScannedConnection()
        line.client(Self.chat + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        var events = line.server("HTTP/1.1 100 Continue\r\n\r\n")
        #expect(events.kinds == .interimResponse)
        #expect(events.openRequests == 1)
        line.client("abc")
        events = line.server(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
                + "Content-Length: 0\r\n\r\n")
        #expect(events.kinds == [.interimResponse, .responseHeaders, .responseEnded])
        #expect(events.openRequests == 0)
    }

    @Test func anAnswerWithoutLengthLastsUntilTheConnectionEnds() {
        var line = ScannedConnection()
        line.client("POST /api/generate HTTP/1.1\r\n\r\n")
        line.server("HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{}\n")
        #expect(line.total.streaming == 1 && line.total.finished == 0)
        let more = line.server("HTTP/1.1 200 OK\r\n\r\n")
        #expect(more.kinds == .responseChunk)
        let events = line.pool.end(line.handle, .server)
        #expect(events.kinds == .responseEnded)
        #expect(events.tokenStreams == 0)
        let again = line.pool.end(line.handle, .server)
        #expect(again.kinds == [])
    }

    @Test(arguments: ["204 No Content", "304 Not Modified"])
    func answersWithoutContentEndWithTheirHead(status: String) {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\n\r\n")
        let events = line.server("HTTP/1.1 \(status)\r\nContent-Length: 5\r\n\r\n")
        #expect(events.kinds == [.responseHeaders, .responseEnded])
        #expect(events.responseBodyBytes == 0)
    }

    /// The answer may come while the request is still being sent.
    @Test func anEarlyAnswerEndsBeforeItsRequest() {
        var line = ScannedConnection()
        line.client(Self.chat + "Content-Length: 10\r\n\r\nabc")
        let early = line.server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        #expect(early.kinds == [.responseHeaders, .responseEnded])
        let rest = line.client("defghij")
        #expect(rest.kinds == .requestEnded)
    }

    @Test(arguments: ["101 Switching Protocols", "200 Connected"])
    func otherProtocolsAreLeftAlone(status: String) {
        var line = ScannedConnection()
        line.client("CONNECT x:443 HTTP/1.1\r\n\r\n")
        let events = line.server("HTTP/1.1 \(status)\r\n\r\n")
        #expect(events.reason == .upgraded)
    }

    @Test(arguments: [
        ("/v1/chat/completions", PathClass.generation),
        ("/openai/deployments/gpt/chat/completions?api-version=2024-06-01", .generation),
        ("/v1beta/models/gemini:streamGenerateContent?alt=sse", .generation),
        ("/v1/messages", .generation), ("/api/chat", .generation),
        ("http://host:8000/v1/responses", .generation),
        ("/v1/completions/", .other), ("/v1/completionsx", .other),
        ("/v1/embeddings", .embeddings), ("/api/embed", .embeddings),
        ("/v1/batches", .batches), ("/v1/batches/batch_7/cancel", .batches),
        ("/v1/files", .files), ("/v1/files/abc/content", .files),
        ("/v2/library/llama/blobs/sha256:aa", .transfer),
        ("/org/model/resolve/main/model.safetensors", .transfer), ("/kv/put", .transfer),
        ("/", .other), ("/?x=/v1/embeddings", .other), ("/filesystem", .other),
    ])
    func pathsSayWhatARequestIsFor(path: String, expected: PathClass) {
        var line = ScannedConnection()
        let events = line.client("POST \(path) HTTP/1.1\r\n\r\n")
        #expect(events.request.path == expected)
        #expect(events.kinds.contains(.requestEnded))
    }

    @Test(arguments: [
        ("text/event-stream", ContentType.eventStream), ("Text/Event-Stream;x", .eventStream),
        ("application/x-ndjson", .jsonLines), ("application/jsonl", .jsonLines),
        ("application/stream+json", .jsonLines), ("application/json", .json),
        ("application/grpc+proto", .grpc), ("text/html", .other), ("text/event", .other),
    ])
    func contentTypesAreTold(value: String, expected: ContentType) {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\n\r\n")
        let events = line.server(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-TYPE:\(value)\r\n\r\n")
        #expect(events.response.contentType == expected)
    }

    // MARK: - Smuggling and garbage

    /// RFC 9112, sections 2.2, 5.1, 5.2, 6.1, 6.3, 7.1 and 11.2.
    @Test(arguments: [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: 5, 5\r\n", "Content-Length: +5\r\n", "Content-Length: 0x5\r\n",
        "Content-Length: -1\r\n", "Content-Length: \r\n", "Content-Length: 5 6\r\n",
        "Content-Length: 9999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked\u{0b}\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n", "Content-Length : 5\r\n",
        "X: a\r\n Content-Length: 5\r\n", "X: a\nContent-Length: 5\r\n", "X: a\rb\r\n",
        "X: a\u{0}b\r\n", " X: a\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\nhello", "Transfer-Encoding: chunked\r\n\r\n0x5\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
        "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\n",
    ])
    func ambiguousRequestsEndTheScanner(fields: String) {
        var line = ScannedConnection()
        let events = line.client(Self.chat + fields)
        #expect(events.kinds.contains(.gaveUp))
        #expect(events.reason == .ambiguous || events.reason == .malformed)
        let after = line.client("GET / HTTP/1.1\r\n\r\n")
        #expect(after.reason == .recycled)
    }

    @Test func chunkedRequestsOfHTTP10AreAmbiguous() {
        var line = ScannedConnection()
        let events = line.client("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")
        #expect(events.reason == .ambiguous)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n", "HTTP/1.1\r\n\r\n",
    ])
    func ambiguousAnswersEndTheScanner(answer: String) {
        var line = ScannedConnection()
        line.client("GET / HTTP/1.1\r\n\r\n")
        let events = line.server(answer)
        #expect(events.reason == .ambiguous || events.reason == .malformed)
    }

    @Test func anAnswerThatNobodyAskedForEndsTheScanner() {
        var line = ScannedConnection()
        line.client("GET / HT")
        let events = line.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        #expect(events.reason == .malformed)
    }

    @Test(arguments: [
        "get / HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n", "GET / HTTP/1.2\r\n", "GET /\r\n",
        "GET / HTTP/1.1 \r\n", "GET / HTTP/1.1\n", "\u{0}\u{1}\u{2}", "GET\t/ HTTP/1.1\r\n",
        "ABCDEFGHIJKLMNOPQRST / HTTP/1.1\r\n", "{\"model\":\"x\"}", "HELO x\r\n",
    ])
    func garbageEndsTheScanner(text: String) {
        var line = ScannedConnection()
        let events = line.client(text)
        #expect(events.kinds.contains(.gaveUp))
        #expect(events.requestsEnded == 0)
    }

    @Test func aHeadMayBeAsLargeAsTheLimitAndNoLarger() {
        for excess in [0, 1] {
            var line = ScannedConnection()
            let start = "GET / HTTP/1.1\r\nX: "
            let room = ScanLimits.headBytesMax - start.utf8.count - 4 + excess
            let events = line.client(start + String(repeating: "a", count: room) + "\r\n\r\n")
            #expect(events.reason == (excess == 0 ? .none : .hugeHead))
            #expect(events.requestsEnded == (excess == 0 ? 1 : 0))
        }
    }

    @Test func aSlowHeadEndsTheScanner() {
        for excess: UInt64 in [0, 1] {
            var line = ScannedConnection()
            line.client("GET / HTTP/1.1\r\nX: ")
            line.now += ScanLimits.headNanosecondsMax + excess
            let events = line.client("a\r\n\r\n")
            #expect(events.reason == (excess == 0 ? .none : .slowHead))
        }
    }

    @Test func aSlowMethodEndsTheScanner() {
        var line = ScannedConnection()
        line.client("GE")
        line.now += ScanLimits.headNanosecondsMax + 1
        let events = line.client("T")
        #expect(events.reason == .slowHead)
    }

    @Test func bodiesAndPausesMayLastAsLongAsTheyLike() {
        var line = ScannedConnection()
        line.client(Self.chat + "Content-Length: 2\r\n\r\na")
        line.now += 3_600_000_000_000
        line.client("b")
        line.server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
        line.now += 3_600_000_000_000
        line.server("x\r\n0\r\n\r\n")
        line.now += 3_600_000_000_000
        let events = line.client("GET / HTTP/1.1\r\n\r\n")
        #expect(events.requestsEnded == 1 && line.total.reason == .none)
    }
}
