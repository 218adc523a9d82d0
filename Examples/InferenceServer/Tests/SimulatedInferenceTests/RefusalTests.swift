import Hummingbird
import HummingbirdTesting
import NIOCore
import Testing

@testable import SimulatedInference

@Suite struct RefusalTests {
    struct Case: Sendable {
        var uri = "/v1/chat/completions"
        let body: String
        var status = HTTPResponse.Status.badRequest
        var parameter: String?
        var code: String?
    }

    private static let hello = #""messages": [{"role": "user", "content": "Hello"}]"#

    @Test(arguments: [
        Case(body: ""),
        Case(body: "{"),
        Case(body: "\u{0}"),
        Case(body: String(repeating: "[", count: 100_000)),
        Case(body: "[]", code: "invalid_type"),
        Case(body: "{\(hello)}", parameter: "model", code: "missing_required_parameter"),
        Case(
            body: #"{"model": "simulated-chat"}"#, parameter: "messages",
            code: "missing_required_parameter"),
        Case(body: #"{"model": 3, "messages": []}"#, parameter: "model", code: "invalid_type"),
        Case(body: #"{"model": "simulated-chat", "messages": []}"#, parameter: "messages"),
        Case(
            body: #"{"model": "simulated-chat", "messages": [{"role": "user", "content": 1}]}"#,
            parameter: "messages[0].content", code: "invalid_type"),
        Case(
            body: #"{"model": "simulated-chat", "messages": [{"role": "elf", "content": ""}]}"#,
            parameter: "messages[0].role"),
        Case(body: #"{"model": "simulated-chat", \#(hello), "n": 2}"#, parameter: "n"),
        Case(
            body: #"{"model": "simulated-chat", \#(hello), "max_tokens": 0}"#,
            parameter: "max_completion_tokens"),
        Case(
            body: #"{"model": "simulated-chat", \#(hello), "max_tokens": "1"}"#,
            parameter: "max_tokens", code: "invalid_type"),
        // Beyond what an integer holds; the decoder does not say where.
        Case(body: #"{"model": "simulated-chat", \#(hello), "max_tokens": 1e99}"#),
        Case(
            body: """
                {"model": "simulated-chat", \(hello), "stream_options": {"include_usage": true}}
                """, parameter: "stream_options"),
        Case(
            body: "{\"model\": \"gpt\", \(hello)}", status: .notFound, parameter: "model",
            code: "model_not_found"),
        Case(
            body: "{\"model\": \"simulated-embedding\", \(hello)}", status: .notFound,
            parameter: "model", code: "model_not_found"),
        Case(
            uri: "/v1/embeddings", body: #"{"model": "simulated-embedding"}"#,
            parameter: "input", code: "missing_required_parameter"),
        Case(
            uri: "/v1/embeddings", body: #"{"model": "simulated-embedding", "input": {}}"#,
            parameter: "input", code: "invalid_type"),
        Case(
            uri: "/v1/embeddings", body: #"{"model": "simulated-embedding", "input": []}"#,
            parameter: "input"),
        Case(
            uri: "/v1/embeddings", body: #"{"model": "simulated-embedding", "input": ["a", ""]}"#,
            parameter: "input[1]"),
        Case(
            uri: "/v1/embeddings",
            body: #"{"model": "simulated-embedding", "input": "a", "dimensions": 1025}"#,
            parameter: "dimensions"),
        Case(
            uri: "/v1/embeddings",
            body: #"{"model": "simulated-embedding", "input": "a", "encoding_format": "hex"}"#,
            parameter: "encoding_format"),
        Case(
            uri: "/v1/embeddings", body: #"{"model": "simulated-chat", "input": "a"}"#,
            status: .notFound, parameter: "model", code: "model_not_found"),
        Case(uri: "/v1/completions", body: "{}", status: .notFound, code: "unknown_url"),
    ])
    func badRequestIsAnsweredWithAnErrorObject(_ expected: Case) async throws {
        try await TestServer.run { client in
            let response = try await client.post(expected.uri, expected.body)
            #expect(response.status == expected.status)
            let error = try #require(try response.object.error)
            #expect(error["type"] as? String == "invalid_request_error")
            #expect(error["param"] as? String == expected.parameter)
            #expect(error["code"] as? String == expected.code)
            #expect((error["message"] as? String)?.isEmpty == false)
            // The connection still works.
            #expect(try await client.chat().status == .ok)
        }
    }

    @Test func bodyOfTheLimitIsReadAndOneByteMoreIsRefused() async throws {
        var settings = TestServer.quickSettings
        settings.bodyBytesMax = 1000
        try await TestServer.run(settings) { client in
            for (size, status) in [(1000, HTTPResponse.Status.ok), (1001, .contentTooLarge)] {
                let frame = #"{"model":"simulated-chat","messages":[{"role":"user","content":""}]}"#
                let padding = String(repeating: "x", count: size - frame.utf8.count)
                let body = frame.replacing(#"content":""#, with: #"content":"\#(padding)"#)
                #expect(body.utf8.count == size)
                let response = try await client.post("/v1/chat/completions", body)
                #expect(response.status == status)
            }
        }
    }

    @Test func requestBeyondTheQueueIsRefused() async throws {
        var settings = TestServer.quickSettings
        settings.sequencesMax = 1
        settings.waitingMax = 1
        settings.firstTokenBaseSeconds = 1
        try await TestServer.run(settings, over: .ahc(.http)) { client in
            try await withThrowingTaskGroup(of: HTTPResponse.Status.self) { group in
                group.addTask { try await client.chat().status }
                #expect(try await client.waitForMetric("vllm:num_requests_running", 1))
                group.addTask { try await client.chat().status }
                #expect(try await client.waitForMetric("vllm:num_requests_waiting", 1))
                let refused = try await client.chat()
                #expect(refused.status == .tooManyRequests)
                #expect(try refused.object.error?["type"] as? String == "rate_limit_error")
                for try await status in group { #expect(status == .ok) }
            }
            #expect(try await client.metric("vllm:num_requests_running") == 0)
            #expect(try await client.metric("vllm:num_requests_waiting") == 0)
        }
    }
}
