/// How the simulated model behaves and what the server accepts.
public struct ServerSettings: Sendable {
    /// Name under which chat completions are served.
    public var chatModel = "simulated-chat"
    /// Name under which embeddings are served.
    public var embeddingModel = "simulated-embedding"
    /// Numbers in one embedding.
    public var embeddingDimensions = 1024
    /// Pace of one generation once its first token is out.
    public var tokensPerSecond = 50.0
    /// Part of the time to first token that every request pays, in seconds.
    public var firstTokenBaseSeconds = 0.15
    /// Part of the time to first token that each prompt token adds, in seconds.
    public var firstTokenSecondsPerPromptToken = 0.000_1
    /// Generations that run at the same time; the rest wait in order of arrival.
    public var sequencesMax = 64
    /// Requests that may wait; the next one is answered with 429.
    public var waitingMax = 4096
    /// Prompt and answer together, in tokens.
    public var contextTokensMax = 131_072
    /// Largest request body, in bytes.
    public var bodyBytesMax = 8 << 20
    /// Where the number of output tokens comes from.
    public var outputLengths = OutputLengths.drawn(.azureConversations)
    /// Everything random follows from this.
    public var seed: UInt64 = 0

    /// Settings that serve two simulated models at a chat model's usual pace.
    public init() {}

    /// Time from the start of a prefill to its first token, in seconds.
    /// - Parameter promptTokenCount: Size of the prompt, in tokens.
    public func firstTokenSeconds(promptTokenCount: Int) -> Double {
        firstTokenBaseSeconds + firstTokenSecondsPerPromptToken * Double(promptTokenCount)
    }
}
