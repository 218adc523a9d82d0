/// What a generation will say, decided before its first token.
struct CompletionPlan: Sendable {
    /// Pieces of the answer in order; joined, they are the answer. At least one.
    let tokens: [String]
    let finishReason: FinishReason
    /// In tokens.
    let promptTokenCount: Int
}

/// Why an answer ended, in the words of the API.
public enum FinishReason: String, Sendable, CaseIterable {
    /// The model was done.
    case stop
    /// The request's limit or the context's was reached.
    case length
    /// The client went away or the server shut down.
    case abort
}

/// The model that is simulated: texts, lengths and vectors, all following from a seed.
struct SimulatedModel: Sendable {
    let settings: ServerSettings

    /// Tokens that a text counts for: four bytes each, as English does on average.
    static func tokenCount(of text: String) -> Int {
        (text.utf8.count + 3) / 4
    }

    /// Plans an answer.
    ///
    /// A request that brings its own seed is answered alike each time; any other by its ordinal.
    /// - Parameters:
    ///   - request: Validated.
    ///   - ordinal: How many requests came before.
    func plan(_ request: ChatRequest, ordinal: UInt64) -> CompletionPlan {
        let sequence = request.seed.map { Self.sequence(of: request, seed: $0) } ?? ordinal
        var generator = SeededGenerator(seed: settings.seed, sequence: sequence)
        let drawn = settings.outputLengths.length(ordinal: ordinal, using: &generator)
        let wanted = max(drawn, request.outputTokensMin)
        let room = settings.contextTokensMax - request.promptTokenCount
        let limit = max(1, min(request.outputTokensMax ?? room, room))
        return CompletionPlan(
            tokens: words(count: min(wanted, limit), using: &generator),
            finishReason: wanted > limit ? .length : .stop,
            promptTokenCount: request.promptTokenCount)
    }

    /// A vector of length 1 that depends on the text and the server's seed only.
    func embedding(of text: String, dimensions: Int) -> [Float] {
        var hash = SHA256()
        hash.update(text)
        let sequence = Self.word(hash.finalize())
        var generator = SeededGenerator(seed: settings.seed, sequence: sequence)
        let raw = (0..<dimensions).map { _ in
            // Twelve uniform numbers have the variance of a normal one.
            (0..<12).reduce(-6.0) { sum, _ in sum + generator.nextUnit() }
        }
        let norm = raw.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return raw.map { Float(norm > 0 ? $0 / norm : 0) }
    }

    private func words(count: Int, using generator: inout SeededGenerator) -> [String] {
        (0..<count).map { index in
            let word = Vocabulary.word(using: &generator)
            return index == 0 ? word : " " + word
        }
    }

    private static func sequence(of request: ChatRequest, seed: Int64) -> UInt64 {
        var hash = SHA256()
        hash.update("\(seed)")
        for message in request.messages {
            // A length in front keeps two splits of the same text apart.
            hash.update(" \(message.role.utf8.count) \(message.text.utf8.count) ")
            hash.update(message.role)
            hash.update(message.text)
        }
        return word(hash.finalize())
    }

    private static func word(_ digest: [UInt8]) -> UInt64 {
        digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
