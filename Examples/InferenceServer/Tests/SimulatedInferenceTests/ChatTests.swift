import Foundation
import Hummingbird
import HummingbirdTesting
import Testing

@testable import SimulatedInference

@Suite struct ChatTests {
    @Test func streamOpensWithARoleAndEndsWithAReasonAndDone() async throws {
        try await TestServer.run { client in
            let response = try await client.chat(#", "stream": true"#)
            #expect(response.status == .ok)
            #expect(response.headers[.contentType] == "text/event-stream; charset=utf-8")
            let chunks = try response.chunks
            #expect(chunks.count == 22)
            #expect(chunks.first?.delta?["role"] as? String == "assistant")
            #expect(chunks.last?.choice?["finish_reason"] as? String == "stop")
            #expect(response.events.last == "[DONE]")
            #expect(Set(chunks.compactMap { $0["id"] as? String }).count == 1)
            let objects = chunks.compactMap { $0["object"] as? String }
            #expect(objects.allSatisfy { $0 == "chat.completion.chunk" })
        }
    }

    @Test func lastChunkCarriesTheHashOfTheText() async throws {
        try await TestServer.run { client in
            let response = try await client.chat(#", "stream": true"#)
            var hash = SHA256()
            hash.update(try response.streamedText)
            #expect(
                try response.chunks.last?["branchline_sha256"] as? String == hash.finalizeHex())
        }
    }

    @Test func hashIsTheStandardOne() {
        var hash = SHA256()
        hash.update("a")
        hash.update("")
        hash.update("bc")
        // FIPS 180-4, example of "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(hash.finalizeHex() == expected)
    }

    @Test func usageComesInAChunkOfItsOwnWhenAsked() async throws {
        try await TestServer.run { client in
            let more = #", "stream": true, "stream_options": {"include_usage": true}"#
            let chunks = try await client.chat(more).chunks
            let last = try #require(chunks.last)
            #expect((last["choices"] as? [Any])?.isEmpty == true)
            let expected = ["prompt_tokens": 6, "completion_tokens": 20, "total_tokens": 26]
            #expect(last.usage == expected)
            #expect(chunks.dropLast().allSatisfy { $0["usage"] is NSNull })
        }
    }

    @Test func wholeAnswerEqualsItsStream() async throws {
        try await TestServer.run { client in
            let whole = try await client.chat(#", "seed": 5"#).object
            let stream = try await client.chat(#", "seed": 5, "stream": true"#)
            let message = whole.choice?["message"] as? [String: Any]
            #expect(try message?["content"] as? String == stream.streamedText)
            #expect(whole["object"] as? String == "chat.completion")
            #expect(whole.usage?["completion_tokens"] == 20)
            let hash = whole["branchline_sha256"] as? String
            #expect(try hash == stream.chunks.last?["branchline_sha256"] as? String)
        }
    }

    @Test func serversWithTheSameSeedAnswerAlike() async throws {
        var texts: [[String]] = []
        for seed: UInt64 in [1, 1, 2] {
            var settings = TestServer.quickSettings
            settings.seed = seed
            texts.append(
                try await TestServer.run(settings) { client in
                    var texts: [String] = []
                    for _ in 0..<3 {
                        texts.append(try await client.chat(#", "stream": true"#).streamedText)
                    }
                    return texts
                })
        }
        #expect(texts[0] == texts[1])
        #expect(texts[0] != texts[2])
        #expect(Set(texts[0]).count == 3)
    }

    @Test func requestSeedDependsOnTheMessages() async throws {
        try await TestServer.run { client in
            let more = #", "seed": 5, "stream": true"#
            let first = try await client.chat(more, content: "a").streamedText
            let second = try await client.chat(more, content: "b").streamedText
            #expect(first != second)
        }
    }

    @Test(arguments: [(19, "length"), (20, "stop"), (21, "stop")])
    func limitCutsLongerAnswersOnly(limit: Int, reason: String) async throws {
        try await TestServer.run { client in
            for name in ["max_tokens", "max_completion_tokens"] {
                let answer = try await client.chat(", \"\(name)\": \(limit)").object
                #expect(answer.choice?["finish_reason"] as? String == reason)
                #expect(answer.usage?["completion_tokens"] == min(limit, 20))
            }
        }
    }

    @Test func contextBoundsTheAnswer() async throws {
        var settings = TestServer.quickSettings
        settings.contextTokensMax = 10
        try await TestServer.run(settings) { client in
            let answer = try await client.chat().object
            #expect(answer.usage?["total_tokens"] == 10)
            #expect(answer.choice?["finish_reason"] as? String == "length")
            // 4 tokens of a message's frame and 24 bytes fill the context whole.
            let full = try await client.chat(content: String(repeating: "x", count: 24))
            #expect(full.status == .badRequest)
            #expect(try full.object.error?["code"] as? String == "context_length_exceeded")
            let last = try await client.chat(content: String(repeating: "x", count: 20))
            #expect(try last.object.usage?["completion_tokens"] == 1)
        }
    }

    @Test func textPartsCountAndImagesDoNot() async throws {
        try await TestServer.run { client in
            let answer = try await client.post(
                "/v1/chat/completions",
                """
                {"model": "simulated-chat", "temperature": 0.5, "messages": [
                  {"role": "system", "content": null},
                  {"role": "user", "content": [{"type": "text", "text": "12345678"},
                    {"type": "image_url", "image_url": {"url": "data:,"}}]}]}
                """
            ).object
            #expect(answer.usage?["prompt_tokens"] == 10)
        }
    }

    @Test func connectionServesManyRequests() async throws {
        try await TestServer.run { client in
            for _ in 0..<20 {
                #expect(try await client.chat(#", "stream": true"#).status == .ok)
            }
            let succeeded = try await client.metric(
                "vllm:request_success_total", label: #"finished_reason="stop""#)
            #expect(succeeded == 20)
        }
    }
}
