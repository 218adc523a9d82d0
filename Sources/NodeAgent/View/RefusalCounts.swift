import ControlModel
import Cryptography

/// What was not believed or not taken, counted, with the newest cases in full.
public struct RefusalCounts: Hashable, Sendable {
    /// Why a node refuses what verifies, or cannot be verified at all.
    public enum Reason: String, CaseIterable, Hashable, Sendable {
        /// A line that is no event.
        case unreadable
        /// A chain of another node than it is said to be.
        case nodeMismatch
        /// The node itself as its own peer, or a key of its own that it does not have.
        case ownKey
        /// Nodes of these roles do not talk to each other.
        case notAPeer
        /// Addresses or routes of a peer that was there before.
        case addressOverlap
        case tooManyPeers
    }

    public struct Case: Codable, Hashable, Sendable {
        /// `nil` for what is not about a peer.
        public var node: String?
        /// As the coordinator calls it.
        public var name: String?
        public var reason: String
        public var detail: String
        public var at: Int64
    }

    /// Since the agent began, by reason.
    public private(set) var total: [String: Int] = [:]
    /// Since ``takeUnreported()`` was called last.
    private var unreported: [String: Int] = [:]
    /// The newest of each reason and node, oldest first.
    public private(set) var newest: [Case] = []

    public init() {}

    mutating func count(
        _ refusal: Refusal, of node: VerifyingKey? = nil, _ name: String? = nil, at now: Int64
    ) {
        count(refusal.reason.rawValue, refusal.detail, of: node, name, at: now)
    }

    mutating func count(
        _ reason: Reason, _ detail: String, of node: VerifyingKey? = nil, _ name: String? = nil,
        at now: Int64
    ) {
        count(reason.rawValue, detail, of: node, name, at: now)
    }

    private mutating func count(
        _ reason: String, _ detail: String, of node: VerifyingKey?, _ name: String?, at now: Int64
    ) {
        total[reason, default: 0] += 1
        unreported[reason, default: 0] += 1
        let node = node?.base64URL
        newest.removeAll { $0.reason == reason && $0.node == node }
        newest.append(Case(node: node, name: name, reason: reason, detail: detail, at: now))
        newest.removeFirst(max(newest.count - Self.newestMax, 0))
    }

    /// What a report to the coordinator tells.
    mutating func takeUnreported() -> [String: Int] {
        defer { unreported = [:] }
        return unreported
    }

    /// A report did not arrive.
    mutating func giveBack(_ counts: [String: Int]) {
        unreported.merge(counts, uniquingKeysWith: +)
    }

    private static var newestMax: Int { 32 }
}
