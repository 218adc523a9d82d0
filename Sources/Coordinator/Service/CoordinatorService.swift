public import Logging
import Synchronization

/// Everything that the coordinator does, apart from HTTP.
///
/// One method for each operation. Each checks what its caller may do, changes what it changes, its
/// entry of the audit log and the changes for nodes in one transaction, and fails with a
/// `CoordinatorAPI.Problem` only.
public final class CoordinatorService: Sendable {
    let storage: any Storage
    let now: @Sendable () -> Int64
    let setupCodeHash: @Sendable () -> [UInt8]?
    let log: Logger
    /// In Unix seconds.
    let startedAt: Int64
    let trusts = TrustCache()
    let presences = Presences()
    /// How often nodes may change themselves.
    let ownChanges = Mutex(
        RateLimiter<String>(
            rate: ServiceLimits.ownChanges, entriesMax: ServiceLimits.presencesMax))

    /// Brings the database up to this program's schema.
    ///
    /// - Parameter now: The time in Unix seconds.
    /// - Parameter setupCodeHash: SHA-256 of the set-up code's text; `nil` once there is none.
    /// - Throws: `storage_unavailable`, also where a newer program wrote the database.
    public init(
        storage: any Storage, now: @escaping @Sendable () -> Int64,
        setupCodeHash: @escaping @Sendable () -> [UInt8]?, log: Logger
    ) async throws {
        self.storage = storage
        self.now = now
        self.setupCodeHash = setupCodeHash
        self.log = log
        startedAt = now()
        try await Schema.migrate(storage)
    }
}
