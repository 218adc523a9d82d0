/// What a node is in the network.
public enum Role: String, CaseIterable, Hashable, Sendable {
    /// A site that reaches the models, with hosts behind it.
    case branch
    /// The tenants' way to an inference cluster; may serve several tenants.
    case gateway
    /// A single machine, possibly with a stock WireGuard client.
    case client
}
