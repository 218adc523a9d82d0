public import ControlModel
public import Cryptography

/// Which gateways of a tenant work, by what answers through each.
///
/// Pure: the time, random numbers and answers go in; questions and preferences come out. All times
/// are monotonic nanoseconds.
public struct GatewayHealth: Sendable {
    /// One gateway, and what is asked through it.
    public struct Gateway: Hashable, Sendable {
        public var node: VerifyingKey
        public var name: String
        public var publicKey: PublicKey
        public var priority: UInt16
        public var weight: UInt16
        /// Of the peer: one that was away is told anew.
        public var admission: Int
        /// Not empty; the gateway itself where nothing else is to be asked.
        public var targets: [HealthTarget]

        public init(
            node: VerifyingKey, name: String, publicKey: PublicKey, priority: UInt16,
            weight: UInt16, admission: Int = 0, targets: [HealthTarget]
        ) {
            self.node = node
            self.name = name
            self.publicKey = publicKey
            self.priority = priority
            self.weight = weight
            self.admission = admission
            self.targets = targets
        }
    }

    /// How well a gateway works.
    public enum Level: UInt8, Comparable, Sendable {
        /// All targets answer, as far as is known.
        case up
        /// Some do.
        case partial
        /// None does.
        case down

        public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// Something to ask through a gateway now.
    public struct Question: Hashable, Sendable {
        public let publicKey: PublicKey
        public let target: HealthTarget
        /// Comes back with the answer; not to be guessed.
        public let token: UInt64
    }

    /// What the tunnel should know of a gateway.
    public struct Preference: Hashable, Sendable {
        public let publicKey: PublicKey
        public let level: Level
        public let priority: UInt16
        public let weight: UInt16
    }

    private struct Entry: Sendable {
        var gateway: Gateway
        var targets: [HealthTarget: TargetHealth]

        var level: Level {
            let downCount = targets.values.count { $0.state == .down }
            if downCount == 0 { return .up }
            return downCount < targets.count ? .partial : .down
        }
    }

    private var entries: [VerifyingKey: Entry] = [:]
    private var askDueAt: UInt64 = 0
    private var told: [VerifyingKey: Preference] = [:]

    public init() {}

    /// Takes up who is there now. What is known of a target stays while its gateway has it.
    ///
    /// - Parameter gateways: Nothing is asked where there is one only, as nobody could take over.
    public mutating func set(_ gateways: [Gateway]) {
        var next: [VerifyingKey: Entry] = [:]
        for gateway in gateways {
            let known = entries[gateway.node]?.targets ?? [:]
            if entries[gateway.node]?.gateway.admission != gateway.admission {
                told[gateway.node] = nil
            }
            let targets = gateway.targets.map { ($0, known[$0] ?? TargetHealth()) }
            next[gateway.node] = Entry(
                gateway: gateway,
                targets: Dictionary(targets, uniquingKeysWith: { first, _ in first }))
        }
        entries = next
        told = told.filter { next[$0.key] != nil }
    }

    public var isAsking: Bool { entries.count > 1 }

    /// What is to be asked now.
    ///
    /// - Parameter random: Makes a number that nobody can guess.
    public mutating func takeQuestions(at now: UInt64, random: () -> UInt64) -> [Question] {
        guard isAsking, now >= askDueAt else { return [] }
        // After a pause, as of a suspended machine, there is nothing to make up for.
        askDueAt = max(askDueAt + Self.intervalNanoseconds, now + Self.intervalNanoseconds / 2)
        var questions: [Question] = []
        for (node, entry) in entries.sorted(by: { $0.key < $1.key }) {
            for target in entry.gateway.targets {
                let token = random()
                entries[node]?.targets[target]?.noteSent(token, at: now)
                questions.append(
                    Question(publicKey: entry.gateway.publicKey, target: target, token: token))
            }
        }
        return questions
    }

    /// - Parameter isGood: `false` where the target said that nobody listens there.
    /// - Returns: The gateway that the question went through, if the answer was waited for.
    @discardableResult
    public mutating func noteAnswer(
        _ token: UInt64, of target: HealthTarget, isGood: Bool, at now: UInt64
    ) -> PublicKey? {
        for node in entries.keys {
            let isIts = entries[node]?.targets[target]?.noteAnswer(token, isGood: isGood, at: now)
            if isIts == true { return entries[node]?.gateway.publicKey }
        }
        return nil
    }

    /// Counts what was not answered in time.
    public mutating func advance(to now: UInt64) {
        for node in entries.keys {
            for target in entries[node]?.gateway.targets ?? [] {
                entries[node]?.targets[target]?.advance(to: now)
            }
        }
    }

    /// When there is something to ask or to count.
    public var nextDeadline: UInt64? {
        guard isAsking else { return nil }
        let timeouts = entries.values.flatMap { $0.targets.values.compactMap(\.nextDeadline) }
        return min(askDueAt, timeouts.min() ?? .max)
    }

    /// Preferences that differ from what was taken last.
    public mutating func takePreferences() -> [Preference] {
        var changed: [Preference] = []
        for (node, entry) in entries.sorted(by: { $0.key < $1.key }) {
            let gateway = entry.gateway
            let preference = Preference(
                publicKey: gateway.publicKey, level: isAsking ? entry.level : .up,
                priority: gateway.priority, weight: gateway.weight)
            guard told[node] != preference else { continue }
            told[node] = preference
            changed.append(preference)
        }
        return changed
    }

    /// The tunnel may know nothing of what was taken.
    public mutating func forgetTold() { told = [:] }

    /// Every gateway, by name.
    public var report: [(name: String, level: Level)] {
        entries.values.map { ($0.gateway.name, $0.level) }.sorted { $0.name < $1.name }
    }

    static let intervalNanoseconds: UInt64 = 150_000_000
}
