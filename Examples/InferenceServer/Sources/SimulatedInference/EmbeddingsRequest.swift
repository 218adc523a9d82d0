/// The body of `POST /v1/embeddings`.
///
/// Source: https://platform.openai.com/docs/api-reference/embeddings/create
struct EmbeddingsRequest: Decodable, Sendable {
    /// How numbers are written in the answer.
    enum Encoding: String, Decodable {
        /// A JSON array.
        case float
        /// Little-endian 32-bit floats, in base64.
        case base64
    }

    let model: String
    let inputs: [Input]
    let encoding: Encoding
    /// Wanted length of the vectors.
    let dimensions: Int?

    /// One text to embed, or its tokens.
    enum Input: Sendable {
        case text(String)
        case tokens([Int])

        /// In tokens.
        var tokenCount: Int {
            switch self {
            case .text(let text): SimulatedModel.tokenCount(of: text)
            case .tokens(let tokens): tokens.count
            }
        }

        /// What the vector depends on.
        var identity: String {
            switch self {
            case .text(let text): text
            case .tokens(let tokens): tokens.map(String.init).joined(separator: ",")
            }
        }
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        model = try container.decode(String.self, forKey: .model)
        encoding =
            try container.decodeIfPresent(Encoding.self, forKey: .encodingFormat) ?? .float
        dimensions = try container.decodeIfPresent(Int.self, forKey: .dimensions)
        guard container.contains(.input) else {
            throw DecodingError.keyNotFound(
                CodingKeys.input,
                .init(codingPath: container.codingPath, debugDescription: "required"))
        }
        if let text = try? container.decode(String.self, forKey: .input) {
            inputs = [.text(text)]
        } else if let texts = try? container.decode([String].self, forKey: .input) {
            inputs = texts.map(Input.text)
        } else if let tokens = try? container.decode([Int].self, forKey: .input) {
            inputs = [.tokens(tokens)]
        } else if let lists = try? container.decode([[Int]].self, forKey: .input) {
            inputs = lists.map(Input.tokens)
        } else {
            throw DecodingError.typeMismatch(
                String.self,
                .init(
                    codingPath: container.codingPath + [CodingKeys.input],
                    debugDescription: "expected text, tokens, or a list of either"))
        }
    }

    /// Checks what decoding does not.
    /// - Throws: ``OpenAIError`` that names the member at fault.
    func validate(_ settings: ServerSettings) throws(OpenAIError) {
        guard model == settings.embeddingModel else { throw .unknownModel(model) }
        guard (1...Self.inputsMax).contains(inputs.count) else {
            throw .invalid("input", "'input' must hold 1 to \(Self.inputsMax) texts.")
        }
        if let index = inputs.firstIndex(where: { $0.tokenCount == 0 }) {
            throw .invalid("input[\(index)]", "A text to embed must not be empty.")
        }
        guard tokenCount <= Self.inputTokensMax else {
            throw .invalid(
                "input", "'input' holds \(tokenCount) tokens, more than \(Self.inputTokensMax).",
                code: "context_length_exceeded")
        }
        if let dimensions, !(1...settings.embeddingDimensions).contains(dimensions) {
            throw .invalid(
                "dimensions", "'dimensions' must be from 1 to \(settings.embeddingDimensions).")
        }
    }

    /// All inputs together, in tokens.
    var tokenCount: Int { inputs.reduce(0) { $0 + $1.tokenCount } }

    // The API's own limits.
    static let inputsMax = 2048
    static let inputTokensMax = 300_000

    private enum CodingKeys: String, CodingKey {
        case model, input, dimensions
        case encodingFormat = "encoding_format"
    }
}
