extension CoordinatorAPI {
    /// One line of `GET /v1/self/watch?since=NUMBER`: `application/x-ndjson`, one object a line.
    ///
    /// A stream begins with `state`, or, where `since` is still known, with the changes after it.
    /// Then come `change` events as they happen and a `heartbeat` at least every 20 seconds.
    /// Numbers count the tenant's changes; a node sees those that concern it, so it may see gaps,
    /// and a heartbeat brings it up to the newest. A node resumes from the last number it saw.
    public struct WatchEvent: Codable, Hashable, Sendable {
        public enum Kind: String, Codable, CaseIterable, Hashable, Sendable {
            case state, change, heartbeat
            /// The coordinator is going away: reconnect, with jitter.
            case bye
        }

        public var kind: Kind
        public var number: Int64
        public var state: NetworkState?
        public var change: NetworkChange?

        public init(
            kind: Kind, number: Int64, state: NetworkState? = nil, change: NetworkChange? = nil
        ) {
            self.kind = kind
            self.number = number
            self.state = state
            self.change = change
        }
    }

    /// Everything that a node has to know; replaces what it knew.
    public struct NetworkState: Codable, Hashable, Sendable {
        /// The node's own chain.
        public var own: String
        /// What the node is called, which an admin may change.
        public var name: String?
        /// Signed rollovers of the root, oldest first.
        public var rollovers: [String]
        /// Chains of the newest lists.
        public var organisationRevocations: String?
        public var tenantRevocations: String?
        /// For a gateway all nodes of the tenant that are none, for others its gateways. Only nodes
        /// that are active, and none for a node that is not.
        public var peers: [Peer]
        public var policy: AccessPolicy?
        public var qos: QoSPolicy?

        public init(
            own: String, name: String? = nil, rollovers: [String],
            organisationRevocations: String?, tenantRevocations: String?, peers: [Peer],
            policy: AccessPolicy?, qos: QoSPolicy?
        ) {
            self.own = own
            self.name = name
            self.rollovers = rollovers
            self.organisationRevocations = organisationRevocations
            self.tenantRevocations = tenantRevocations
            self.peers = peers
            self.policy = policy
            self.qos = qos
        }
    }

    /// Another node, as far as it concerns this one. Only the chain is believed.
    public struct Peer: Codable, Hashable, Sendable {
        public var node: String
        public var name: String
        public var chain: String
        public var endpoint: String?
        /// Of a gateway, where an admin has said so: see ``GatewayPreference``.
        public var priority: Int64?
        public var weight: Int64?
        public var health: [String]?

        public init(
            node: String, name: String, chain: String, endpoint: String?, priority: Int64? = nil,
            weight: Int64? = nil, health: [String]? = nil
        ) {
            self.node = node
            self.name = name
            self.chain = chain
            self.endpoint = endpoint
            self.priority = priority
            self.weight = weight
            self.health = health
        }
    }

    /// One change; exactly one member is there.
    public struct NetworkChange: Codable, Hashable, Sendable {
        /// Added, or changed.
        public var peer: Peer?
        /// The node key of a peer that is no more.
        public var peerRemoved: String?
        /// The node's own chain changed: a new grant.
        public var own: String?
        /// The node has another name.
        public var name: String?
        /// A newer list, of the tenant or the organisation.
        public var revocations: String?
        public var rollover: String?
        public var policy: AccessPolicy?
        public var qos: QoSPolicy?

        public init(
            peer: Peer? = nil, peerRemoved: String? = nil, own: String? = nil,
            name: String? = nil, revocations: String? = nil, rollover: String? = nil,
            policy: AccessPolicy? = nil, qos: QoSPolicy? = nil
        ) {
            self.peer = peer
            self.peerRemoved = peerRemoved
            self.own = own
            self.name = name
            self.revocations = revocations
            self.rollover = rollover
            self.policy = policy
            self.qos = qos
        }
    }
}
