import PacketFormats
import TestSupport
import Testing

@testable import InferenceTraffic

/// What heads of requests and answers tell, through the table.
@Suite struct HeadTests {
    private func head(_ lines: [String]) -> [UInt8] {
        Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    private func post(
        _ path: String, length: Int, fields: [String] = []
    ) -> [UInt8] {
        head(
            [
                "POST \(path) HTTP/1.1", "Host: llm.example", "Content-Type: application/json",
                "Content-Length: \(length)",
            ] + fields)
    }

    private var events: [UInt8] {
        head([
            "HTTP/1.1 200 OK", "Content-Type: text/event-stream; charset=utf-8",
            "Transfer-Encoding: chunked",
        ])
    }

    private func chunk(_ text: String) -> [UInt8] {
        Array("\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n".utf8)
    }

    /// A question and an answer as server-sent events.
    private func chat(
        _ tap: inout Tap, _ connection: inout Connection, chunks: Int = 10, body: Int = 200,
        fields: [String] = []
    ) -> FlowVerdict {
        connection.send(
            &tap, from: .client,
            post("/v1/chat/completions", length: body, fields: fields)
                + [UInt8](repeating: 0x20, count: body))
        tap.wait(400)
        var verdict = connection.send(&tap, from: .server, events)
        for _ in 0..<chunks {
            tap.wait(20)
            verdict = connection.send(
                &tap, from: .server, chunk("data: {\"choices\":[{\"delta\":{}}]}\n\n"))
        }
        return verdict
    }

    private func endChat(_ tap: inout Tap, _ connection: inout Connection) {
        connection.send(&tap, from: .server, chunk("data: [DONE]\n\n") + Array("0\r\n\r\n".utf8))
    }

    @Test func serverSentEventsAreAStreamFromTheirFirstByte() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        #expect(chat(&tap, &connection, chunks: 2).trafficClass == .token)
        let record = try connection.record(tap)
        #expect(record.isTokenStream)
        #expect(record.phase == .streaming)
        #expect(record.evidence == .http1)
        #expect(record.requests == 1)
        #expect(record.firstChunkNanoseconds == 400_000_000)
        #expect(record.interChunkNanoseconds == 20_000_000)
        #expect(record.detail.contains("POST"))
        endChat(&tap, &connection)
        #expect(try connection.record(tap).phase == .idle)
        let measures = tap.table.measures(of: 0, rules: tap.rules)
        #expect(measures.map(\.requests).reduce(0, +) == 1)
        #expect(measures.map(\.streams).reduce(0, +) == 1)
        #expect(measures.flatMap(\.firstChunkCounts).reduce(0, +) == 1)
    }

    @Test func aKeptConnectionServesManyRequests() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        for _ in 0..<5 {
            #expect(chat(&tap, &connection).trafficClass == .token)
            endChat(&tap, &connection)
            tap.wait(2_000)
        }
        let record = try connection.record(tap)
        #expect(record.requests == 5)
        let measures = tap.table.measures(of: 0, rules: tap.rules)
        #expect(measures.map(\.streams).reduce(0, +) == 5)
    }

    @Test func aLongPromptSinksAndItsAnswerStreams() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(&tap, from: .client, post("/v1/chat/completions", length: 3_000_000))
        var classes: [TrafficClass] = []
        for _ in 0..<200 {
            tap.wait(1)
            classes.append(connection.send(&tap, from: .client, count: 15_000).trafficClass)
        }
        #expect(classes[0] == .token)
        #expect(classes[2...].allSatisfy { $0 == .prompt })
        tap.wait(1_200)
        #expect(connection.send(&tap, from: .server, events).trafficClass == .token)
        for _ in 0..<20 {
            tap.wait(20)
            let verdict = connection.send(&tap, from: .server, chunk("data: {}\n\n"))
            #expect(verdict.trafficClass == .token)
        }
        #expect(try connection.record(tap).firstChunkNanoseconds == 1_200_000_000)
    }

    @Test func bodiesLongerThanPromptsAreBulk() {
        for (length, expected) in [(8 << 20, TrafficClass.prompt), (8 << 20 + 1, .bulk)] {
            var tap = Tap()
            var connection = Connection()
            connection.open(&tap)
            connection.send(&tap, from: .client, post("/v1/chat/completions", length: length))
            connection.send(&tap, from: .client, count: 28_000)
            let verdict = connection.send(&tap, from: .client, count: 28_000)
            #expect(verdict.trafficClass == expected)
        }
    }

    @Test func embeddingsAreBackgroundBeyondTheirBeginning() {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        let first = connection.send(
            &tap, from: .client, post("/v1/embeddings", length: 500_000))
        #expect(first.trafficClass == .token)
        connection.send(&tap, from: .client, count: 28_000)
        #expect(connection.send(&tap, from: .client, count: 28_000).trafficClass == .background)
    }

    @Test func objectivesAreHeard() {
        for (objective, expected) in [("batch", TrafficClass.background), ("chat", .prompt)] {
            var tap = Tap()
            var connection = Connection()
            connection.open(&tap)
            connection.send(
                &tap, from: .client,
                post(
                    "/v1/chat/completions", length: 500_000,
                    fields: ["x-gateway-inference-objective: \(objective)"]))
            connection.send(&tap, from: .client, count: 28_000)
            let verdict = connection.send(&tap, from: .client, count: 28_000)
            #expect(verdict.trafficClass == expected)
        }
    }

    /// Who names a short deadline waits, whatever the path says.
    @Test(arguments: [
        ("10000", "", TrafficClass.prompt), ("0", "", .prompt), ("10001", "", .background),
        ("soon", "", .background), ("250", "x-gateway-inference-objective: batch", .background),
    ])
    func aShortDeadlineIsHeard(deadline: String, field: String, expected: TrafficClass) {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(
            &tap, from: .client,
            post(
                "/v1/embeddings", length: 500_000,
                fields: ["x-slo-ttft-ms: \(deadline)"] + (field.isEmpty ? [] : [field])))
        connection.send(&tap, from: .client, count: 28_000)
        let verdict = connection.send(&tap, from: .client, count: 28_000)
        #expect(verdict.trafficClass == expected)
    }

    @Test func anInterimAnswerIsNone() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(
            &tap, from: .client,
            post("/v1/chat/completions", length: 300, fields: ["Expect: 100-continue"]))
        tap.wait(40)
        connection.send(&tap, from: .server, head(["HTTP/1.1 100 Continue"]))
        tap.wait(1)
        connection.send(&tap, from: .client, count: 300)
        tap.wait(500)
        connection.send(&tap, from: .server, events + chunk("data: {}\n\n"))
        #expect(try connection.record(tap).firstChunkNanoseconds == 500_000_000)
    }

    @Test func anEventStreamOfFullSegmentsBackToBackIsDemoted() {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        _ = chat(&tap, &connection, chunks: 1)
        var last = TrafficClass.token
        connection.send(&tap, from: .server, Array("ffffff\r\n".utf8))
        for _ in 0..<100 {
            tap.wait(2)
            last = connection.send(&tap, from: .server, count: 28_000).trafficClass
        }
        #expect(last == .bulk)
    }

    @Test func pipelinedRequestsAreCounted() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        let one = head(["GET /v1/models HTTP/1.1", "Host: llm.example"])
        connection.send(&tap, from: .client, one + one + one)
        tap.wait(30)
        let answer = head(["HTTP/1.1 200 OK", "Content-Length: 2"]) + Array("{}".utf8)
        connection.send(&tap, from: .server, answer + answer)
        connection.send(&tap, from: .server, answer)
        let record = try connection.record(tap)
        #expect(record.requests == 3)
        #expect(record.phase == .idle)
        #expect(record.firstChunkNanoseconds == 30_000_000)
    }

    /// A stream whose question nobody saw is found by its behaviour.
    @Test func lostFirstPacketsLeaveBehaviour() throws {
        var tap = Tap()
        var connection = Connection()
        for _ in 0..<30 {
            connection.send(&tap, from: .server, chunk("data: {}\n\n"))
            tap.wait(20)
        }
        let record = try connection.record(tap)
        #expect(record.isTokenStream)
        #expect(record.firstChunkNanoseconds == nil)
    }

    @Test func whatSpeaksNoProtocolOnAPortOfOneIsNothingSpecial() throws {
        var generator = SeededGenerator(seed: 80)
        var tap = Tap()
        var connection = Connection(serverPort: 80)
        connection.open(&tap)
        var last = TrafficClass.token
        for _ in 0..<100 {
            tap.wait(1)
            last = connection.send(&tap, from: .client, generator.bytes(14_000)).trafficClass
        }
        #expect(last == .bulk)
        #expect(try connection.record(tap).evidence == .size)
    }

    @Test func usageIsReadOnlyWherePolicySaysSo() {
        for reads in [false, true] {
            var tap = Tap()
            tap.rules = ClassRules(readsUsage: reads)
            var connection = Connection()
            connection.open(&tap)
            _ = chat(&tap, &connection)
            tap.wait(20)
            connection.send(
                &tap, from: .server,
                chunk("data: {\"usage\":{\"completion_tokens\":57,\"total_tokens\":60}}\n\n"))
            endChat(&tap, &connection)
            let tokens = tap.table.measures(of: 0, rules: tap.rules).map(\.tokens).reduce(0, +)
            #expect(tokens == (reads ? 57 : 0))
        }
    }

    /// Chunks stand for tokens until a record says how many there were: of both, the budget is
    /// charged the larger, for each answer.
    @Test(arguments: [(57, 57), (5, 12)])
    func aTenantIsChargedOnceForAnAnswer(told: Int, charged: Int) {
        var tap = Tap()
        tap.rules = ClassRules(readsUsage: true)
        var connection = Connection()
        connection.open(&tap)
        for _ in 0..<3 {
            _ = chat(&tap, &connection)
            tap.wait(20)
            connection.send(
                &tap, from: .server, chunk("data: {\"usage\":{\"completion_tokens\":\(told)}}\n\n"))
            #expect(tap.table.takeTokens(of: 0) == charged)
            tap.wait(20)
            endChat(&tap, &connection)
            #expect(tap.table.takeTokens(of: 0) == 0)
        }
    }

    /// A sum that grows from record to record is charged as it grows.
    @Test func recordsInEveryChunkAreChargedOnce() {
        var tap = Tap()
        tap.rules = ClassRules(readsUsage: true)
        var connection = Connection()
        connection.open(&tap)
        _ = chat(&tap, &connection, chunks: 0)
        _ = tap.table.takeTokens(of: 0)
        for count in 1...40 {
            tap.wait(20)
            connection.send(
                &tap, from: .server, chunk("data: {\"output_tokens\":\(count * 2)}\n\n"))
        }
        // The head, a chunk like any other, stands for one of them.
        #expect(tap.table.takeTokens(of: 0) == 79)
    }
}
