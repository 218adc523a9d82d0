/// What becomes of a packet.
@frozen
public enum AccessVerdict: Hashable, Sendable {
    case allowed
    /// - Parameter rule: The first rule about these two that does not allow this transport or
    ///   port, by its place among the rules; ``AccessFilter/defaultDeny`` if there is none.
    case denied(rule: Int32)
}

/// What the rules say of one connection, without a packet.
public struct AccessDecision: Hashable, Sendable {
    public let isAllowed: Bool
    /// The rule that allows it; or the first about these two, which does not allow this transport
    /// or port; or ``AccessFilter/defaultDeny``.
    public let rule: Int32
}

/// How often packets were denied for one rule.
public struct AccessDenials: Hashable, Sendable {
    /// Place of the rule, or ``AccessFilter/defaultDeny``.
    public var rule: Int32
    /// The rule's name; of the default, what it is.
    public var name: String
    public var count: UInt64

    public init(rule: Int32, name: String, count: UInt64) {
        self.rule = rule
        self.name = name
        self.count = count
    }
}
