/// What the agent tells `branchline status`, as a file in its folder. It holds no secrets.
public struct AgentStatus: Codable, Hashable, Sendable {
    public struct RevocationList: Codable, Hashable, Sendable {
        /// A tenant's name, or `organisation`.
        public var realm: String
        public var number: Int64
        public var issuedAt: Int64
        public var entryCount: Int
    }

    /// Process that wrote this.
    public var processIdentifier: Int32
    public var interface: String
    public var updatedAt: Int64
    /// ``Standing``.
    public var state: String
    /// Why it is not `active`.
    public var stateDetail: String?
    /// Whether addresses and peers are in force.
    public var isInForce: Bool
    public var tenant: String
    public var name: String
    public var node: String
    public var role: String?
    /// What the node's grant names: the least that its tunnels are content with.
    public var profile: String?
    public var addresses: [String]
    public var routes: [String]
    public var coordinator: String
    public var connectedSince: Int64?
    /// Why it is not connected.
    public var connectionFault: String?
    public var lastNumber: Int64
    public var revocationLists: [RevocationList]
    /// The coordinator serves older revocation lists than the node has, or none.
    public var isServedStaleRevocations: Bool
    public var acceptedPeers: Int
    /// Gateways that the node has as peers, by name.
    public var gateways: [String]
    /// How they work; `nil` where nobody could take over from another.
    public var gatewayHealth: [GatewayReport]?
    /// Names of the peers by their public keys, in base64; `nil` where they are too many.
    public var peerNames: [String: String]?
    /// By reason, since the agent began.
    public var refusals: [String: Int]
    /// The newest cases.
    public var newestRefusals: [RefusalCounts.Case]
    public var grantExpiresAt: Int64?
    public var keySince: Int64
    public var rotateEverySeconds: Int64?
    public var isRotating: Bool
    /// What could not be done, such as a route that is somebody else's.
    public var notes: [String]
}
