import Hummingbird
import HummingbirdTesting
import NIOCore
import Testing

@testable import SimulatedInference

@Suite struct PaceTests {
    @Test func answerTakesPrefillAndOneIntervalBetweenTokens() async throws {
        var settings = TestServer.quickSettings
        settings.tokensPerSecond = 100
        settings.firstTokenBaseSeconds = 0.1
        settings.firstTokenSecondsPerPromptToken = 0.01
        settings.outputLengths = .fixed(11)
        try await TestServer.run(settings) { client in
            let clock = ContinuousClock()
            // 6 prompt tokens: 0.16 s to the first token, 0.1 s for the ten that follow.
            let elapsed = try await clock.measure { _ = try await client.chat() }
            // How much longer it takes is the machine's affair.
            let first = try #require(
                await client.metric("vllm:time_to_first_token_seconds_sum"))
            #expect(first >= 0.16)
            #expect(try await client.metric("vllm:time_to_first_token_seconds_count") == 1)
            // A late token does not delay those that follow: the gap after it is the shorter.
            let gaps = try #require(await client.metric("vllm:inter_token_latency_seconds_sum"))
            #expect(first + gaps >= 0.26)
            #expect(.seconds(first + gaps) <= elapsed)
            for name in ["vllm:inter_token_latency", "vllm:time_per_output_token"] {
                #expect(try await client.metric(name + "_seconds_count") == 10)
            }
            #expect(try await client.metric("vllm:prompt_tokens_total") == 6)
            #expect(try await client.metric("vllm:generation_tokens_total") == 11)
            #expect(try await client.metric("vllm:e2e_request_latency_seconds_count") == 1)
        }
    }

    @Test(arguments: ["true", "false"])
    func clientThatGoesEndsItsGeneration(stream: String) async throws {
        var settings = TestServer.quickSettings
        settings.tokensPerSecond = 20
        settings.outputLengths = .fixed(10_000)
        try await TestServer.run(settings) { client in
            let leaving = TestClient(host: "localhost", port: try #require(client.port))
            leaving.connect()
            let body = """
                {"model": "simulated-chat", "stream": \(stream), \
                "messages": [{"role": "user", "content": "Hello"}]}
                """
            let request = Task {
                try await leaving.execute(
                    .init(
                        "/v1/chat/completions", method: .post, authority: "localhost",
                        body: ByteBuffer(string: body)))
            }
            #expect(try await client.waitForMetric("vllm:num_requests_running", 1))
            try await leaving.getChannel().close()
            _ = await request.result
            #expect(try await client.waitForMetric("vllm:num_requests_running", 0))
            let aborted = try await client.metric(
                "vllm:request_success_total", label: #"finished_reason="abort""#)
            #expect(aborted == 1)
        }
    }

    @Test func clientThatGoesWhileWaitingLeavesTheQueue() async throws {
        var settings = TestServer.quickSettings
        settings.sequencesMax = 1
        settings.firstTokenBaseSeconds = 3600
        try await TestServer.run(settings) { client in
            let leaving = try (0..<2).map { _ in
                TestClient(host: "localhost", port: try #require(client.port))
            }
            for (index, client) in leaving.enumerated() {
                client.connect()
                let body = #"{"model": "simulated-embedding", "input": "\#(index)"}"#
                Task {
                    try await client.execute(
                        .init(
                            "/v1/embeddings", method: .post, authority: "localhost",
                            body: ByteBuffer(string: body)))
                }
            }
            #expect(try await client.waitForMetric("vllm:num_requests_waiting", 1))
            for client in leaving { try await client.getChannel().close() }
            #expect(try await client.waitForMetric("vllm:num_requests_waiting", 0))
            #expect(try await client.waitForMetric("vllm:num_requests_running", 0))
        }
    }
}
