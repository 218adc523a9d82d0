/// What the agent says of one gateway, where it has several.
public struct GatewayReport: Codable, Hashable, Sendable {
    public var name: String
    /// `up`, `partial` where some of its health targets do not answer, or `down`.
    public var health: String

    init(name: String, level: GatewayHealth.Level) {
        self.name = name
        health = "\(level)"
    }
}
