import Foundation

/// What all parts of one answer repeat.
struct CompletionIdentity: Sendable {
    let id: String
    let model: String
    /// Since 1970.
    let createdSeconds: Int

    /// - Parameter ordinal: How many answers were started before.
    init(model: String, seed: UInt64, ordinal: UInt64) {
        var generator = SeededGenerator(seed: ~seed, sequence: ordinal)
        id = "chatcmpl-" + String(generator.next(), radix: 16)
        self.model = model
        createdSeconds = Int(Date().timeIntervalSince1970)
    }

    /// Names the software, as the API's field of that name does.
    static let fingerprint = "fp_simulated"
}

/// Token counts of one request.
struct Usage: Encodable, Sendable {
    let promptTokens: Int
    let completionTokens: Int
    var totalTokens: Int { promptTokens + completionTokens }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(promptTokens, forKey: .prompt)
        try container.encode(completionTokens, forKey: .completion)
        try container.encode(totalTokens, forKey: .total)
    }

    private enum CodingKeys: String, CodingKey {
        case prompt = "prompt_tokens"
        case completion = "completion_tokens"
        case total = "total_tokens"
    }
}

/// A whole answer, the body of a response that is not streamed.
struct Completion: Encodable {
    let id: String
    let object = "chat.completion"
    let created: Int
    let model: String
    let systemFingerprint = CompletionIdentity.fingerprint
    let choices: [Choice]
    let usage: Usage
    let contentSHA256: String

    init(_ identity: CompletionIdentity, text: String, reason: FinishReason, usage: Usage) {
        id = identity.id
        created = identity.createdSeconds
        model = identity.model
        choices = [
            Choice(
                index: 0, message: Message(role: "assistant", content: text),
                finishReason: reason.rawValue)
        ]
        self.usage = usage
        var hash = SHA256()
        hash.update(text)
        contentSHA256 = hash.finalizeHex()
    }

    struct Choice: Encodable {
        let index: Int
        let message: Message
        let finishReason: String

        private enum CodingKeys: String, CodingKey {
            case index, message
            case finishReason = "finish_reason"
        }
    }

    struct Message: Encodable {
        let role: String
        let content: String
    }

    private enum CodingKeys: String, CodingKey {
        case id, object, created, model, choices, usage
        case systemFingerprint = "system_fingerprint"
        case contentSHA256 = "branchline_sha256"
    }
}
