public import ControlModel
public import Cryptography

/// A node that showed its secret.
public struct NodeIdentity: Hashable, Sendable {
    public var tenant: Name
    public var node: VerifyingKey
    public var role: Role
    /// When it showed its secret: pending, active or suspended.
    public var state: CoordinatorAPI.NodeState

    public init(
        tenant: Name, node: VerifyingKey, role: Role, state: CoordinatorAPI.NodeState
    ) {
        self.tenant = tenant
        self.node = node
        self.role = role
        self.state = state
    }

    /// As `CoordinatorAPI.Identity.actor`.
    public var actor: String { "node:\(node)" }

    /// A gateway may be in several tenants, and is another one in each.
    var key: Presences.Key { Presences.Key(tenant: tenant, node: node) }
}
