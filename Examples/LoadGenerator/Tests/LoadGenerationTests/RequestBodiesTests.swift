import Foundation
import NIOCore
import Testing

@testable import LoadGeneration

@Suite struct RequestBodiesTests {
    private let bodies = RequestBodies(chatModel: "a \"b\" \\ \n é", embeddingModel: "e")

    private func object(_ body: ByteBuffer) throws -> [String: Any] {
        try #require(
            try JSONSerialization.jsonObject(with: Data(body.readableBytesView)) as? [String: Any])
    }

    @Test func chatIsJSONWithItsModel() throws {
        let body = try object(bodies.chat(prompt: "hello", tokens: 7, isExact: false))
        #expect(body["model"] as? String == "a \"b\" \\ \n é")
        #expect(body["stream"] as? Bool == true)
        #expect(body["max_completion_tokens"] as? Int == 7)
        #expect(body["min_tokens"] == nil)
        let exact = try object(bodies.chat(prompt: "hello", tokens: 7, isExact: true))
        #expect(exact["min_tokens"] as? Int == 7)
    }

    @Test func agentsConversationGrows() throws {
        let body = try object(bodies.agent(task: "t", results: ["r", "s"], tokens: 5))
        let messages = try #require(body["messages"] as? [[String: Any]])
        #expect(messages.map { $0["role"] as? String } == [
            "user", "assistant", "tool", "assistant", "tool",
        ])
        #expect(messages[2]["tool_call_id"] as? String == "call_0")
    }

    @Test func embeddingsHoldEveryText() throws {
        let body = try object(bodies.embeddings(["a", "b"]))
        #expect(body["input"] as? [String] == ["a", "b"])
    }

    @Test func textsFollowFromSeedAndStream() {
        var texts = [(1, 0), (1, 0), (1, 1), (2, 0)].map { seed, stream in
            PromptText(seed: UInt64(seed), stream: UInt64(stream))
        }
        let drawn = texts.indices.map { texts[$0].next(byteCount: 100) }
        #expect(drawn[0] == drawn[1])
        #expect(Set(drawn).count == 3)
        #expect(drawn.allSatisfy { $0.utf8.count == 100 })
        #expect(texts[0].next(byteCount: 100) != drawn[0])
    }

    @Test(arguments: [
        ("http://h:1", "http://h:1/v1"), ("http://h:1/", "http://h:1/v1"),
        ("http://h/v1", "http://h/v1"), ("https://h/api/v2/", "https://h/api/v2"),
    ])
    func addressGetsTheUsualPath(address: String, base: String) throws {
        #expect(try InferenceService.baseURL(address) == base)
    }

    @Test(arguments: ["", "h:1", "ftp://h", "http://", "10.0.0.1"])
    func whatIsNoAddressIsRefused(address: String) {
        #expect(throws: LoadError.self) { try InferenceService.baseURL(address) }
    }
}
