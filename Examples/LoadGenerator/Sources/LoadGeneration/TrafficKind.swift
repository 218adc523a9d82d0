/// What inference traffic consists of.
public enum TrafficKind: String, CaseIterable, Sendable {
    /// A short prompt, answered by a stream of tokens.
    case chat
    /// A long prompt, answered by a stream of tokens.
    case prompt
    /// Many texts in one request, answered by their vectors.
    case embeddings
    /// Requests one after another with tools, each answered whole, the conversation growing.
    case agent
    /// Blocks of bytes, as key-value caches and model files travel.
    case bulk
    /// Hidden states of a model that is split over two sites: a block each way for every token.
    case exchange

    /// Whether servers other than this repository's InferenceServer have it.
    public var isOpenAI: Bool { self != .bulk && self != .exchange }
}
