/// The best traffic class that a node's packets may be put into, best first.
///
/// The class `control` is not granted: it is for the tunnels' own messages.
public enum ClassCeiling: String, CaseIterable, Hashable, Sendable {
    case token, activation, prompt, bulk, background

    /// Whether everything that this ceiling allows lies under `other`, too.
    public func isWithin(_ other: ClassCeiling) -> Bool { rank >= other.rank }

    private var rank: Int {
        switch self {
        case .token: 0
        case .activation: 1
        case .prompt: 2
        case .bulk: 3
        case .background: 4
        }
    }
}
