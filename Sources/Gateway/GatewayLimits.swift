/// Sizes and intervals of a gateway.
enum GatewayLimits {
    static let tenantsMax = 4_096
    static let tenantFileBytesMax = 64 << 10
    /// A few hundred bytes for each tenant, and its notes.
    static let statusBytesMax = 16 << 20
    /// How long until a tenant that could not be served is tried again; doubled each time up to
    /// the second figure.
    static let retrySecondsFirst: Int64 = 1
    static let retrySecondsMax: Int64 = 30
    /// A tenant that was served this long is tried again at once.
    static let steadySeconds: Int64 = 60
    /// How often a served tenant is looked at: whether its namespace and memberships are there.
    static let reviewSeconds: Int64 = 1
    /// How long changes gather before they are written to the status.
    static let statusMilliseconds: Int64 = 50
    /// How often it is kept where peers are, also of tenants with many.
    static let placesSeconds: UInt64 = 10
    static let placesSecondsOfMany: UInt64 = 60
    static let manyPeers = 1_000
    /// Peers that are spoken to first, and how long until the next ones are: 1,000 handshakes a
    /// second at most.
    static let greetedAtOnce = 50
    static let greetingMilliseconds: Int64 = 50
    static let greetingSeconds: Int64 = 3
    /// Longer than it is switched on: it sends once.
    static let greetingKeepaliveSeconds: UInt16 = 25
    /// Descriptors that are kept for readers of files, clients of sockets and resolvers.
    static let descriptorReserve = 32
    /// Descriptors of a tenant beside the queues of its interface: listener and its reserve,
    /// netlink, steering program and map.
    static let descriptorsPerTenant = 6
    /// And with a membership: lock, connections to the coordinator and a file.
    static let descriptorsPerMembership = 8
}
