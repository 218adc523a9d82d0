import Foundation
import Hummingbird

/// `POST /v1/embeddings`.
struct EmbeddingsRoute: Sendable {
    let engine: InferenceEngine

    func respond(to request: Request, context: ServerContext) async throws -> Response {
        let settings = engine.settings
        let wanted = try await JSONBody.decode(
            EmbeddingsRequest.self, from: request, bytesMax: settings.bodyBytesMax)
        try wanted.validate(settings)
        let work = Task { try await engine.embed(wanted) }
        try await context.whenClientGone(work.cancel)
        let vectors = try await work.value
        return try JSONBody.response(
            EmbeddingList(
                data: vectors.enumerated().map { index, vector in
                    Embedding(index: index, vector: vector, encoding: wanted.encoding)
                },
                model: wanted.model, usage: .init(tokenCount: wanted.tokenCount)))
    }
}

/// The body of a response.
private struct EmbeddingList: Encodable {
    let object = "list"
    let data: [Embedding]
    let model: String
    let usage: Usage

    struct Usage: Encodable {
        let tokenCount: Int

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(tokenCount, forKey: .prompt)
            try container.encode(tokenCount, forKey: .total)
        }

        private enum CodingKeys: String, CodingKey {
            case prompt = "prompt_tokens"
            case total = "total_tokens"
        }
    }
}

/// One vector of a response.
private struct Embedding: Encodable {
    let index: Int
    let vector: [Float]
    let encoding: EmbeddingsRequest.Encoding

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode("embedding", forKey: .object)
        try container.encode(index, forKey: .index)
        switch encoding {
        case .float:
            try container.encode(vector, forKey: .embedding)
        case .base64:
            let bytes = vector.flatMap { number in
                (0..<4).map { UInt8(truncatingIfNeeded: number.bitPattern >> ($0 * 8)) }
            }
            try container.encode(Data(bytes).base64EncodedString(), forKey: .embedding)
        }
    }

    private enum CodingKeys: CodingKey { case object, index, embedding }
}
