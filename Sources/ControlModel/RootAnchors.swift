public import Cryptography

/// The root keys that a verifier believes: the one it got with its token, and those that followed.
public struct RootAnchors: Hashable, Sendable {
    public struct Anchor: Hashable, Sendable {
        public let key: VerifyingKey
        /// What follows this key, where that is known.
        public internal(set) var successor: VerifyingKey?
        /// The first second in which this key does not count any more.
        public internal(set) var retiresAt: Int64?

        public init(
            key: VerifyingKey, successor: VerifyingKey? = nil, retiresAt: Int64? = nil
        ) {
            self.key = key
            self.successor = successor
            self.retiresAt = retiresAt
        }
    }

    /// Oldest first, at least one.
    public private(set) var anchors: [Anchor]

    public init(root: VerifyingKey) { anchors = [Anchor(key: root)] }

    /// From a verifier's own storage.
    /// - Returns: `nil` for none, or for more than are ever kept.
    public init?(restoring anchors: [Anchor]) {
        guard (1...TrustLimits.anchorsMax).contains(anchors.count) else { return nil }
        self.anchors = anchors
    }

    /// - Throws: `unknownIssuer` or `rootRetired`.
    func anchor(_ key: VerifyingKey, at now: Int64, skewSeconds: Int64) throws(Refusal) -> Anchor {
        guard let anchor = anchors.first(where: { $0.key == key }) else {
            throw Refusal(.unknownIssuer, "\(key) is no root")
        }
        if let retiresAt = anchor.retiresAt, now >= retiresAt + skewSeconds {
            throw Refusal(.rootRetired, "\(key) retired at \(retiresAt), it is \(now)")
        }
        return anchor
    }

    /// Adds the next root. What was followed before is accepted again, and changes nothing.
    ///
    /// A root is followed once. Whoever steals a root after its rollover can therefore not lead
    /// away those who know of the rollover.
    /// - Throws: `rolloverConflict` for a second successor, and what is wrong with the times.
    mutating func follow(
        _ rollover: RootRollover, signedBy signer: VerifyingKey, at now: Int64, skewSeconds: Int64
    ) throws(Refusal) {
        guard let index = anchors.firstIndex(where: { $0.key == signer }) else {
            throw Refusal(.unknownIssuer, "\(signer) is no root")
        }
        if let successor = anchors[index].successor {
            guard successor == rollover.nextRoot, anchors[index].retiresAt == rollover.retiresAt
            else { throw Refusal(.rolloverConflict, "\(signer) was followed by \(successor)") }
            return
        }
        try rollover.validity.check(
            "root rollover", at: now, skewSeconds: skewSeconds,
            secondsMax: TrustLimits.rolloverSecondsMax)
        guard !anchors.contains(where: { $0.key == rollover.nextRoot }) else {
            throw Refusal(.duplicateKey, "\(rollover.nextRoot) is a root already")
        }
        anchors[index].successor = rollover.nextRoot
        anchors[index].retiresAt = rollover.retiresAt
        anchors.append(Anchor(key: rollover.nextRoot))
        anchors.removeFirst(max(anchors.count - TrustLimits.anchorsMax, 0))
    }

    func contains(_ key: VerifyingKey) -> Bool { anchors.contains { $0.key == key } }
}
