/// The body of `POST /v1/chat/completions`, as far as a simulated model cares.
///
/// Members that steer a real model's sampling (temperature, tools, stop and the like) are
/// accepted and have no effect.
///
/// Source: https://platform.openai.com/docs/api-reference/chat/create
struct ChatRequest: Decodable, Sendable {
    let model: String
    let messages: [ChatMessage]
    let stream: Bool
    /// Whether a last chunk reports the token counts.
    let includesUsage: Bool
    /// The client's limit, in tokens.
    let outputTokensMax: Int?
    /// What an answer has at least, in tokens; vLLM's own member.
    let outputTokensMin: Int
    let seed: Int64?
    /// How many answers are wanted.
    let choiceCount: Int

    /// Size of all messages, in tokens.
    var promptTokenCount: Int {
        messages.reduce(0) { sum, message in
            sum + SimulatedModel.tokenCount(of: message.text) + Self.tokensPerMessage
        }
    }

    /// What a chat template spends on marking a message's role and borders, in tokens.
    private static let tokensPerMessage = 4

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        model = try container.decode(String.self, forKey: .model)
        messages = try container.decode([ChatMessage].self, forKey: .messages)
        stream = try container.decodeIfPresent(Bool.self, forKey: .stream) ?? false
        let options = try container.decodeIfPresent(StreamOptions.self, forKey: .streamOptions)
        includesUsage = options?.includeUsage ?? false
        let newLimit = try container.decodeIfPresent(Int.self, forKey: .maxCompletionTokens)
        let oldLimit = try container.decodeIfPresent(Int.self, forKey: .maxTokens)
        outputTokensMax = newLimit ?? oldLimit
        outputTokensMin = try container.decodeIfPresent(Int.self, forKey: .minTokens) ?? 0
        seed = try container.decodeIfPresent(Int64.self, forKey: .seed)
        choiceCount = try container.decodeIfPresent(Int.self, forKey: .n) ?? 1
    }

    /// Checks what decoding does not.
    /// - Throws: ``OpenAIError`` that names the member at fault.
    func validate(_ settings: ServerSettings) throws(OpenAIError) {
        guard model == settings.chatModel else { throw .unknownModel(model) }
        guard !messages.isEmpty else {
            throw .invalid("messages", "'messages' must hold at least one message.")
        }
        guard choiceCount == 1 else {
            throw .invalid("n", "'n' must be 1: this server gives one answer a request.")
        }
        if let outputTokensMax, outputTokensMax < 1 {
            throw .invalid("max_completion_tokens", "The limit must be at least 1 token.")
        }
        guard outputTokensMin >= 0, outputTokensMin <= outputTokensMax ?? .max else {
            throw .invalid("min_tokens", "'min_tokens' must be from 0 to the limit of tokens.")
        }
        if includesUsage && !stream {
            throw .invalid("stream_options", "'stream_options' needs 'stream' to be true.")
        }
        let promptTokenCount = promptTokenCount
        guard promptTokenCount < settings.contextTokensMax else {
            throw .contextExceeded(
                tokenCount: promptTokenCount, tokensMax: settings.contextTokensMax)
        }
    }

    private struct StreamOptions: Decodable {
        let includeUsage: Bool?

        enum CodingKeys: String, CodingKey { case includeUsage = "include_usage" }
    }

    private enum CodingKeys: String, CodingKey {
        case model, messages, stream, seed, n
        case streamOptions = "stream_options"
        case maxTokens = "max_tokens"
        case maxCompletionTokens = "max_completion_tokens"
        case minTokens = "min_tokens"
    }
}

/// One message of a conversation.
struct ChatMessage: Decodable, Sendable {
    let role: String
    /// The text, or all text parts joined; empty for a message that only calls tools.
    let text: String

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        role = try container.decode(String.self, forKey: .role)
        guard Self.roles.contains(role) else {
            throw DecodingError.dataCorruptedError(
                forKey: .role, in: container,
                debugDescription: "must be one of \(Self.roles.joined(separator: ", "))")
        }
        if try container.decodeNil(forKey: .content) {
            text = ""
        } else if let plain = try? container.decode(String.self, forKey: .content) {
            text = plain
        } else {
            text = try container.decode([Part].self, forKey: .content)
                .compactMap(\.text).joined()
        }
    }

    /// Images and audio are accepted and count for nothing.
    private struct Part: Decodable {
        let type: String
        let text: String?
    }

    private static let roles = ["developer", "system", "user", "assistant", "tool", "function"]

    private enum CodingKeys: CodingKey { case role, content }
}
