public import ControlModel
public import Cryptography

/// One change of a tenant, as the watch streams carry it.
public struct StoredChange: Hashable, Sendable {
    /// Whom a change concerns.
    public enum Audience: Hashable, Sendable {
        case all
        case gateways
        /// Nodes that are not gateways.
        case others
        case node(VerifyingKey)
    }

    /// Counts the tenant's changes, without gaps.
    public let number: Int64
    public let audience: Audience
    /// A `CoordinatorAPI.NetworkChange` as JSON.
    public let payload: [UInt8]

    public init(number: Int64, audience: Audience, payload: [UInt8]) {
        self.number = number
        self.audience = audience
        self.payload = payload
    }

    /// Whether a node with this role and key is to see it.
    public func concerns(_ node: VerifyingKey, _ role: Role) -> Bool {
        switch audience {
        case .all: true
        case .gateways: role == .gateway
        case .others: role != .gateway
        case .node(let key): key == node
        }
    }
}
