import ControlModel
import FoundationEssentials
import GRDB

/// One SQLite file in write-ahead mode, for one coordinator process.
///
/// Every commit reaches the disk before its caller hears of it (`synchronous = FULL`); those that
/// wait for the disk together share one.
public final class SQLiteStorage: Storage {
    private let pool: DatabasePool
    private let queue: WriteQueue
    private let announcements = Announcements()

    /// Opens the file, or makes it with mode 0600.
    ///
    /// - Throws: `storage_unavailable`, with what to do.
    public init(path: String) throws {
        try Self.createFile(path)
        var configuration = Configuration()
        configuration.busyMode = .timeout(Self.busySeconds)
        configuration.maximumReaderCount = Self.readersMax
        configuration.label = "coordinator"
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try pool.writeWithoutTransaction { database in
                try database.execute(sql: "PRAGMA synchronous = FULL")
            }
        } catch {
            throw CoordinatorAPI.Problem.storageUnavailable("cannot open \(path): \(error)")
        }
        queue = WriteQueue { [pool, announcements] batch in
            await Self.commit(batch, to: pool, announcing: announcements)
        }
    }

    public var tenantChanges: AsyncStream<String> { announcements.stream() }
    public var isShared: Bool { false }
    public var dialect: SQLDialect { .sqlite }

    public func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value {
        do {
            return try await pool.read { try body(SQLiteConnection($0)) }
        } catch let error as DatabaseError {
            throw CoordinatorAPI.Problem.storageUnavailable("SQLite: \(error)")
        }
    }

    public func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value {
        try await queue.perform(body)
    }

    public func backup(to path: String) async throws {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw CoordinatorAPI.Problem.alreadyExists(
                "\(path) exists: name a file that does not")
        }
        try Self.createFile(path)
        do {
            try copyDatabase(to: path)
        } catch {
            try? FileManager.default.removeItem(atPath: path)
            throw CoordinatorAPI.Problem.storageUnavailable("cannot write \(path): \(error)")
        }
    }

    public func checkIntegrity() async throws {
        let answers = try await read { connection in
            try connection.rows("PRAGMA integrity_check(10)", []).map { try $0.text(0) }
                + connection.rows("PRAGMA foreign_key_check", []).map { _ in "foreign key" }
        }
        guard answers == ["ok"] else {
            throw CoordinatorAPI.Problem.storageUnavailable(
                "the database is damaged, restore a backup: \(answers.joined(separator: "; "))")
        }
    }

    public func close() async {
        await queue.close()
        announcements.finish()
        // Fails where a statement is still running; the process's end closes it, too.
        try? pool.close()
    }

    private func copyDatabase(to path: String) throws {
        let copy = try DatabaseQueue(path: path)
        try pool.backup(to: copy)
        // A copy of a write-ahead database would want its two companion files.
        try copy.writeWithoutTransaction { database in
            try database.execute(sql: "PRAGMA journal_mode = DELETE")
        }
        try copy.close()
    }

    private static func commit(
        _ batch: [PendingWrite], to pool: DatabasePool, announcing announcements: Announcements
    ) async {
        do {
            let announced = try await pool.writeWithoutTransaction { database in
                let connection = SQLiteConnection(database)
                connection.commit(batch) { try connection.begin() }
                return connection.announced
            }
            announcements.announce(announced)
        } catch {
            // The connection was closed; no write has run.
            for write in batch {
                write.fail(CoordinatorAPI.Problem.storageUnavailable("SQLite: \(error)"))
            }
        }
    }

    /// Makes an empty file that only its owner may read; SQLite's companions take its mode.
    private static func createFile(_ path: String) throws {
        guard !FileManager.default.fileExists(atPath: path) else { return }
        guard FileManager.default.createFile(
            atPath: path, contents: nil, attributes: [.posixPermissions: 0o600])
        else {
            throw CoordinatorAPI.Problem.storageUnavailable(
                "cannot make \(path): the folder must exist and be writable")
        }
    }

    private static let busySeconds = 5.0
    private static let readersMax = 4
}
