/// What bounds the coordinator's database and what it keeps in memory.
enum ServiceLimits {
    static let adminsMax: Int64 = 1_000
    static let apiTokensMax: Int64 = 10_000
    static let tenantsMax: Int64 = 10_000
    static let poolsMax = 16
    static let reservationsMax: Int64 = 1_000
    static let unusedTokensMax: Int64 = 100_000
    static let nodesMax: Int64 = 100_000
    static let groupsMax: Int64 = 1_000
    /// Changes of a tenant that can still be asked for.
    static let changesKept: Int64 = 10_000
    /// How many peers a node is told one by one when it becomes active.
    static let peersToldMax = 256

    // Texts, in bytes.
    static let labelBytesMax = 128
    static let noteBytesMax = 1_024
    static let endpointBytesMax = 261

    static let pageMax = 1_000

    // Durations in seconds.
    static let reservationSeconds: Int64 = 600
    /// A gateway that was away for longer holds nobody up.
    static let gatewayAwaySeconds: Int64 = 86_400
    /// How late the time of a last sign of life may be written.
    static let lastSeenSeconds: Int64 = 60

    /// Rotations and new endpoints of one node: each is written to disk and told to others.
    static let ownChanges = Rate(burst: 20, perSecond: 0.1)

    /// Entries of what is kept in memory for each node and API token.
    static let presencesMax = 200_000
    static let verifiersMax = 256
    /// Signs of life written in one transaction.
    static let presencesPerWrite = 500
}
