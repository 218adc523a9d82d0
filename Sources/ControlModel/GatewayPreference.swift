/// Which gateway others prefer where several carry the same networks, as the coordinator says.
///
/// Not signed: whoever makes it up can choose among the tenant's own gateways, no more.
public struct GatewayPreference: Hashable, Sendable {
    /// New flows go to the lowest number among the gateways that work.
    public var priority: UInt16
    /// Share of new flows among gateways of one priority; 0 for none.
    public var weight: UInt16
    /// What is asked through the gateway; the gateway itself where it is empty.
    public var health: [HealthTarget]

    public init(priority: UInt16 = 100, weight: UInt16 = 1, health: [HealthTarget] = []) {
        self.priority = priority
        self.weight = weight
        self.health = health
    }

    /// What does not fit is as if nothing had been said of it.
    public init(of peer: CoordinatorAPI.Peer) {
        self.init()
        if let priority = peer.priority, Self.priorities.contains(priority) {
            self.priority = UInt16(priority)
        }
        if let weight = peer.weight, Self.weights.contains(weight) {
            self.weight = UInt16(weight)
        }
        health = (peer.health ?? []).prefix(Self.targetsMax).compactMap { HealthTarget($0) }
    }

    public static let priorities: ClosedRange<Int64> = 0...65_535
    public static let weights: ClosedRange<Int64> = 0...1_000
    /// Health targets of one gateway.
    public static let targetsMax = 8
}
