/// What a packet is to the people who wait for it, the most urgent first.
///
/// The order is that of service: a lower raw value never waits for a higher one beyond what the
/// scheduler's caps say.
public enum TrafficClass: UInt8, CaseIterable, Hashable, Sendable {
    /// Handshakes, probes, the coordinator.
    case control
    /// Token streams, agents' tool calls, alarms, the beginning of any request.
    case token
    /// Hidden states of split inference, which have a deadline.
    case activation
    /// The rest of long prompts, images, audio.
    case prompt
    /// KV caches, models.
    case bulk
    /// Embeddings, batches, backups: what is left of the link.
    case background

    /// As in policies, tables and metrics.
    public var name: String {
        switch self {
        case .control: "control"
        case .token: "token"
        case .activation: "activation"
        case .prompt: "prompt"
        case .bulk: "bulk"
        case .background: "background"
        }
    }

    public init?(name: String) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }

    /// The class itself, or the ceiling where the class is above it.
    @inlinable
    public func limited(to ceiling: TrafficClass) -> TrafficClass {
        rawValue < ceiling.rawValue ? ceiling : self
    }
}

extension TrafficClass: Comparable {
    /// The more urgent class is the lesser one.
    @inlinable
    public static func < (left: TrafficClass, right: TrafficClass) -> Bool {
        left.rawValue < right.rawValue
    }
}
