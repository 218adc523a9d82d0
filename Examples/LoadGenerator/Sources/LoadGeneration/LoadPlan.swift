/// What is to be sent, and where it ends.
public struct LoadPlan: Sendable {
    public enum Source: Sendable {
        /// So many clients of each kind, each sending its next request after the former's end.
        case mix([TrafficKind: Int])
        /// Chat requests at recorded times, so many times as fast.
        case trace(RequestTrace, speed: Double)
    }

    /// How large things are.
    public struct Sizes: Sendable {
        public var promptBytes = 2_048
        public var longPromptBytes = 65_536
        /// Limit of an answer, in tokens.
        public var answerTokens = 128
        /// Whether answers are asked to have exactly that many tokens, as vLLM lets one ask.
        public var isAnswerExact = false
        public var embeddingInputs = 64
        public var embeddingInputBytes = 512
        public var agentSteps = 5
        public var bulkBytes = 4 << 20
        public var exchangeBytes = 16_384
        /// Tokens of one split-inference sequence.
        public var exchangeTokens = 64

        public init() {}
    }

    public enum BulkDirection: String, CaseIterable, Sendable {
        case up, down
        /// Clients by turns.
        case both
    }

    /// What no run exceeds.
    public struct Limits: Sendable {
        /// Requests under way at a time.
        public var concurrencyMax = 256
        /// After this no request begins.
        public var durationSeconds = 30.0
        /// How long requests under way may then take to end.
        public var graceSeconds = 5.0
        /// Payload of both directions; once it is reached no request begins.
        public var bytesMax = 10 << 30

        public init() {}
    }

    public var source: Source
    public var sizes = Sizes()
    public var limits = Limits()
    public var bulkDirection = BulkDirection.both
    /// Pause of a client between two requests.
    public var pauseSeconds = 0.0
    /// Everything random follows from it.
    public var seed: UInt64 = 0

    public init(source: Source) {
        self.source = source
    }
}
