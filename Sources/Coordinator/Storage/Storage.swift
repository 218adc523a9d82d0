/// Where the coordinator keeps everything: one database, SQLite or PostgreSQL.
///
/// SQL is written once, in the subset that both understand. All failures of the database itself
/// are `CoordinatorAPI.Problem` with the reason `storage_unavailable`; what a body throws, its
/// caller gets.
public protocol Storage: Sendable {
    /// Reads one consistent state.
    ///
    /// - Parameter body: Runs once, on a thread that may block.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value

    /// Changes all that `body` changes, or nothing; when this returns, the change is on disk.
    ///
    /// Writers follow one another, those of other replicas included. Several that wait may be
    /// committed together, and one that throws takes nothing of the others back.
    ///
    /// - Parameter body: Runs at most once, on a thread that may block.
    /// - Throws: `storage_unavailable` where it is not known to be on disk. Then it may be there
    ///   all the same: the caller asks again.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value

    /// Names of tenants whose changes number may have grown, from this replica or another.
    ///
    /// Every stream gets every name, once however often it was announced since it was last read.
    var tenantChanges: AsyncStream<String> { get }

    /// Whether other processes write here, too.
    var isShared: Bool { get }

    var dialect: SQLDialect { get }

    /// Writes a consistent copy while the service runs.
    ///
    /// - Parameter path: A file that does not exist yet.
    /// - Throws: `invalid_request` where the database has tools of its own for this.
    func backup(to path: String) async throws

    /// Asks the database whether it is sound.
    func checkIntegrity() async throws

    /// Waits for what is running; everything afterwards fails.
    func close() async
}

/// One connection, inside of a transaction.
public protocol StorageConnection: AnyObject {
    /// - Parameter sql: One statement, with `?` for each of the arguments.
    func execute(_ sql: String, _ arguments: [SQLValue]) throws

    /// - Returns: All rows; statements bound them by `LIMIT`.
    func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow]

    /// Tells every replica, once this is committed, that a tenant's changes number grew.
    func announce(tenant: String) throws
}

/// The few words in which the databases differ; migrations alone ask.
public enum SQLDialect: Hashable, Sendable {
    case sqlite, postgreSQL
}

/// What a column or an argument holds.
public enum SQLValue: Hashable, Sendable {
    case null
    case integer(Int64)
    case text(String)
    case bytes([UInt8])
}
