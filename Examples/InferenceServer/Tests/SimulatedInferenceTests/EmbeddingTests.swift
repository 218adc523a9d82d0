import Foundation
import Hummingbird
import HummingbirdTesting
import Testing

@testable import SimulatedInference

@Suite struct EmbeddingTests {
    private static func request(_ more: String) -> String {
        #"{"model": "simulated-embedding", \#(more)}"#
    }

    @Test func base64CarriesTheSameNumbersAsFloat() async throws {
        try await TestServer.run { client in
            let float = try await client.post(
                "/v1/embeddings", Self.request(#""input": "text", "encoding_format": "float""#))
            let base64 = try await client.post(
                "/v1/embeddings", Self.request(#""input": "text", "encoding_format": "base64""#))
            let numbers = try #require(try float.first?["embedding"] as? [Double])
            let text = try #require(try base64.first?["embedding"] as? String)
            let bytes = [UInt8](try #require(Data(base64Encoded: text)))
            let decoded = stride(from: 0, to: bytes.count, by: 4).map { start in
                (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << ($1 * 8) }
            }.map(Float.init(bitPattern:))
            #expect(decoded.count == 1024)
            #expect(numbers.map(Float.init) == decoded)
            let norm = decoded.reduce(0) { $0 + $1 * $1 }
            #expect(abs(norm - 1) < 0.001)
        }
    }

    @Test(arguments: [
        (#""input": "abcde""#, 1, 2), (#""input": ["abcd", "e"]"#, 2, 2),
        (#""input": [1, 2, 3]"#, 1, 3), (#""input": [[1, 2], [3]]"#, 2, 3),
    ])
    func everyFormOfInputIsTaken(input: String, count: Int, tokens: Int) async throws {
        try await TestServer.run { client in
            let response = try await client.post(
                "/v1/embeddings", Self.request(input + #", "dimensions": 8"#))
            let answer = try response.object
            let data = try #require(answer["data"] as? [[String: Any]])
            #expect(data.count == count)
            #expect(data.compactMap { $0["index"] as? Int } == Array(0..<count))
            #expect(data.allSatisfy { ($0["embedding"] as? [Double])?.count == 8 })
            #expect(answer.usage == ["prompt_tokens": tokens, "total_tokens": tokens])
        }
    }

    @Test func vectorDependsOnTheTextOnly() {
        let model = SimulatedModel(settings: .init())
        let first = model.embedding(of: "a", dimensions: 16)
        #expect(first == model.embedding(of: "a", dimensions: 16))
        #expect(first != model.embedding(of: "b", dimensions: 16))
    }

    @Test func modelsAreListed() async throws {
        try await TestServer.run { client in
            let list = try await client.execute(uri: "/v1/models", method: .get).object
            let data = try #require(list["data"] as? [[String: Any]])
            let names = data.compactMap { $0["id"] as? String }
            #expect(names == ["simulated-chat", "simulated-embedding"])
            let one = try await client.execute(uri: "/v1/models/simulated-chat", method: .get)
            #expect(try one.object["object"] as? String == "model")
            let none = try await client.execute(uri: "/v1/models/none", method: .get)
            #expect(none.status == .notFound)
            #expect(try await client.execute(uri: "/health", method: .get).status == .ok)
        }
    }
}

extension TestResponse {
    fileprivate var first: [String: Any]? {
        get throws { (try object["data"] as? [[String: Any]])?.first }
    }
}
