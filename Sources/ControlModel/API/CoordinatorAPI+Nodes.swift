extension CoordinatorAPI {
    public enum NodeState: String, Codable, CaseIterable, Hashable, Sendable {
        /// Joined with a token that needs approval; nobody accepts it yet.
        case pending
        case active
        /// Its grants so far are revoked; a new one brings it back.
        case suspended
        case revoked
        /// It said that it leaves.
        case left
    }

    /// `GET /v1/tenants/{tenant}/nodes/{node}`.
    public struct Node: Codable, Hashable, Sendable {
        /// The node's signing key, which names it.
        public var node: String
        /// What it calls itself; for people.
        public var name: String
        public var tenant: String
        public var role: String
        public var state: NodeState
        public var addresses: [String]
        public var routes: [String]
        public var groups: [String]
        public var profile: String
        /// Best traffic class.
        public var ceiling: String
        /// WireGuard key in use.
        public var publicKey: String
        /// Where a gateway is reached, `host:port`.
        public var endpoint: String?
        /// Of a gateway, where an admin has said so: see ``GatewayPreference``.
        public var priority: Int64?
        public var weight: Int64?
        public var health: [String]?
        public var serial: Int64
        /// When the chain's first link ends.
        public var validUntil: Int64
        /// ``StatementChain/text``.
        public var chain: String
        /// Whether a person configured it by hand, without an agent.
        public var isByHand: Bool
        public var isConnected: Bool
        public var lastSeenAt: Int64?
        /// Number of the last change that it reported as applied.
        public var appliedNumber: Int64?
        public var agentVersion: String?
        /// What the node refused, by its newest report: reason and count. `nil` where it was
        /// nothing.
        public var refusals: [String: Int]?
        /// Newest revocation list of the tenant that the node reported to believe.
        public var newestRevocations: Int64?
        /// The same of the organisation.
        public var newestOrganisationRevocations: Int64?
        public var joinedAt: Int64
        /// The `ETag`.
        public var revision: Int64

        public init(
            node: String, name: String, tenant: String, role: String, state: NodeState,
            addresses: [String], routes: [String], groups: [String], profile: String,
            ceiling: String, publicKey: String, endpoint: String?, priority: Int64? = nil,
            weight: Int64? = nil, health: [String]? = nil, serial: Int64, validUntil: Int64,
            chain: String, isByHand: Bool, isConnected: Bool,
            lastSeenAt: Int64?, appliedNumber: Int64?, agentVersion: String?,
            refusals: [String: Int]? = nil, newestRevocations: Int64? = nil,
            newestOrganisationRevocations: Int64? = nil, joinedAt: Int64, revision: Int64
        ) {
            self.node = node
            self.name = name
            self.tenant = tenant
            self.role = role
            self.state = state
            self.addresses = addresses
            self.routes = routes
            self.groups = groups
            self.profile = profile
            self.ceiling = ceiling
            self.publicKey = publicKey
            self.endpoint = endpoint
            self.priority = priority
            self.weight = weight
            self.health = health
            self.serial = serial
            self.validUntil = validUntil
            self.chain = chain
            self.isByHand = isByHand
            self.isConnected = isConnected
            self.lastSeenAt = lastSeenAt
            self.appliedNumber = appliedNumber
            self.agentVersion = agentVersion
            self.refusals = refusals
            self.newestRevocations = newestRevocations
            self.newestOrganisationRevocations = newestOrganisationRevocations
            self.joinedAt = joinedAt
            self.revision = revision
        }
    }

    /// `POST /v1/tenants/{tenant}/nodes`: a plain WireGuard client, added by hand under a grant
    /// that an admin signed.
    public struct NodeByHand: Codable, Hashable, Sendable {
        public var reservation: String
        /// Admin key and grant.
        public var chain: String
        public var name: String

        public init(reservation: String, chain: String, name: String) {
            self.reservation = reservation
            self.chain = chain
            self.name = name
        }
    }

    /// `PATCH /v1/tenants/{tenant}/nodes/{node}`, with `If-Match`. `nil` leaves a field as it is.
    public struct NodeChange: Codable, Hashable, Sendable {
        public var name: String?
        public var endpoint: String?
        /// Of a gateway: see ``GatewayPreference``.
        public var priority: Int64?
        public var weight: Int64?
        /// In place of those before; an empty list asks the gateway itself.
        public var health: [String]?

        public init(
            name: String? = nil, endpoint: String? = nil, priority: Int64? = nil,
            weight: Int64? = nil, health: [String]? = nil
        ) {
            self.name = name
            self.endpoint = endpoint
            self.priority = priority
            self.weight = weight
            self.health = health
        }
    }

    /// `POST /v1/enrolments`, without authentication: the chain is it.
    public struct Enrolment: Codable, Hashable, Sendable {
        /// Admin key, token and the grant that the token's key signed.
        public var chain: String
        /// 1 to 63 letters, digits, hyphens and points.
        public var name: String
        /// SHA-256, base64url, of the secret that the node will show as its bearer token: the
        /// secret itself is `bln_` and 43 characters, hashed as that text.
        public var secretHash: String
        /// `host:port`, for gateways.
        public var endpoint: String?
        public var agentVersion: String?

        public init(
            chain: String, name: String, secretHash: String, endpoint: String?,
            agentVersion: String?
        ) {
            self.chain = chain
            self.name = name
            self.secretHash = secretHash
            self.endpoint = endpoint
            self.agentVersion = agentVersion
        }
    }

    /// Answer to an enrolment and `GET /v1/self`.
    public struct OwnState: Codable, Hashable, Sendable {
        public var state: NodeState
        /// The node's current chain, as the coordinator has it.
        public var chain: String
        /// Newest number of the tenant's changes.
        public var number: Int64
        /// Gateways of the tenant that have not reported the newest change which concerns gateways
        /// as applied; those that have been away for more than a day do not count.
        public var gatewaysBehind: Int
        /// At enrolment only: all that the node needs to start, as the first event of a stream.
        public var network: NetworkState?

        public init(
            state: NodeState, chain: String, number: Int64, gatewaysBehind: Int,
            network: NetworkState? = nil
        ) {
            self.state = state
            self.chain = chain
            self.number = number
            self.gatewaysBehind = gatewaysBehind
            self.network = network
        }
    }

    /// `POST /v1/self/report`: which change is in force on the node.
    public struct Report: Codable, Hashable, Sendable {
        public var appliedNumber: Int64
        /// Newest revocation list of the tenant, and of the organisation, that the node believes.
        public var tenantRevocations: Int64
        public var organisationRevocations: Int64
        /// What the node refused since the last report: reason and count.
        public var refusals: [String: Int]
        public var endpoint: String?
        public var agentVersion: String?

        public init(
            appliedNumber: Int64, tenantRevocations: Int64, organisationRevocations: Int64,
            refusals: [String: Int], endpoint: String?, agentVersion: String?
        ) {
            self.appliedNumber = appliedNumber
            self.tenantRevocations = tenantRevocations
            self.organisationRevocations = organisationRevocations
            self.refusals = refusals
            self.endpoint = endpoint
            self.agentVersion = agentVersion
        }
    }
}
