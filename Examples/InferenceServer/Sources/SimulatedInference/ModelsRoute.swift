import Foundation
import Hummingbird

/// `GET /v1/models` and `GET /v1/models/NAME`.
struct ModelsRoute: Sendable {
    private let models: [Model]

    init(settings: ServerSettings) {
        let created = Int(Date().timeIntervalSince1970)
        models = [
            Model(
                id: settings.chatModel, created: created,
                contextTokens: settings.contextTokensMax),
            Model(
                id: settings.embeddingModel, created: created,
                contextTokens: EmbeddingsRequest.inputTokensMax),
        ]
    }

    func list() throws -> Response {
        try JSONBody.response(List(data: models))
    }

    func one(_ name: String) throws -> Response {
        guard let model = models.first(where: { $0.id == name }) else {
            throw OpenAIError.unknownModel(name)
        }
        return try JSONBody.response(model)
    }

    private struct List: Encodable {
        let object = "list"
        let data: [Model]
    }

    private struct Model: Encodable, Sendable {
        let id: String
        let object = "model"
        let created: Int
        let ownedBy = "branchline"
        let contextTokens: Int

        private enum CodingKeys: String, CodingKey {
            case id, object, created
            case ownedBy = "owned_by"
            // vLLM's addition to the API.
            case contextTokens = "max_model_len"
        }
    }
}
