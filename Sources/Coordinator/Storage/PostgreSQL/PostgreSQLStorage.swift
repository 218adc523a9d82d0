import CPostgres
import ControlModel
import NIOPosix
import Synchronization

/// A PostgreSQL database, which several coordinators may share.
///
/// Threads of its own: libpq's calls block. One writes, some read, and one listens to what other
/// replicas announce.
public final class PostgreSQLStorage: Storage {
    private let connector: PostgreSQLConnector
    private let readers = NIOThreadPool(numberOfThreads: readersMax)
    private let writer = NIOThreadPool(numberOfThreads: 1)
    private let listener = NIOThreadPool(numberOfThreads: 1)
    /// Connections that nobody uses at this moment.
    private let idleReaders = Mutex<[PostgreSQLConnection]>([])
    private let queue: WriteQueue
    private let announcements: Announcements
    private let isClosed: ClosedFlag

    /// Connects when it is first asked for something.
    ///
    /// - Parameter conninfo: As libpq takes it: `host=… dbname=…` or a URL.
    public init(_ conninfo: String) {
        let connector = PostgreSQLConnector(conninfo), announcements = Announcements()
        let writerConnection = WriterConnection(connector), writer = writer, isClosed = ClosedFlag()
        self.connector = connector
        self.announcements = announcements
        self.isClosed = isClosed
        queue = WriteQueue { batch in
            do {
                try await writer.runIfActive { writerConnection.commit(batch) }
            } catch {
                // The pool's threads are gone; no write has run.
                for write in batch {
                    write.fail(CoordinatorAPI.Problem.storageUnavailable("\(error)"))
                }
            }
        }
        for pool in [readers, writer, listener] { pool.start() }
        listener.submit { state in
            guard state == .active else { return }
            PostgreSQLListener(connector, announcements, isClosed).run()
        }
    }

    public var tenantChanges: AsyncStream<String> { announcements.stream() }
    public var isShared: Bool { true }
    public var dialect: SQLDialect { .postgreSQL }

    public func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value {
        guard !isClosed.isSet else {
            throw CoordinatorAPI.Problem.storageUnavailable("the coordinator is stopping")
        }
        do {
            return try await readers.runIfActive { try self.readNow(body) }
        } catch let lost as PostgreSQLConnection.Lost {
            throw PostgreSQLConnection.problem(of: lost)
        } catch is NIOThreadPoolError.ThreadPoolInactive {
            throw CoordinatorAPI.Problem.storageUnavailable("the coordinator is stopping")
        }
    }

    public func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value {
        try await queue.perform(body)
    }

    public func backup(to path: String) async throws {
        throw CoordinatorAPI.Problem.invalidRequest(
            "PostgreSQL has tools of its own for this: use pg_dump or pg_basebackup")
    }

    public func checkIntegrity() async throws {
        // PostgreSQL checks what it reads; pg_amcheck does more.
        _ = try await read { try $0.rows("SELECT COUNT(*) FROM schema_versions", []) }
    }

    public func close() async {
        await queue.close()
        isClosed.set()
        announcements.finish()
        for pool in [readers, writer, listener] { try? await pool.shutdownGracefully() }
        idleReaders.withLock { $0 = [] }
    }

    private func readNow<Value>(_ body: (any StorageConnection) throws -> Value) throws -> Value {
        let connection = try beginReading()
        defer {
            connection.rollBack()
            if connection.isAlive { idleReaders.withLock { $0.append(connection) } }
        }
        return try body(connection)
    }

    /// A connection that was idle may have been lost meanwhile; then nothing was asked yet.
    private func beginReading() throws -> PostgreSQLConnection {
        while let connection = idleReaders.withLock({ $0.popLast() }) {
            do {
                try connection.beginReading()
                return connection
            } catch is PostgreSQLConnection.Lost {}
        }
        let connection = try connector.connect()
        try connection.beginReading()
        return connection
    }

    private static let readersMax = 4
}

/// The one connection that writes, used by the writer's thread alone.
private final class WriterConnection: Sendable {
    private let connector: PostgreSQLConnector
    private let current = Mutex<PostgreSQLConnection?>(nil)

    init(_ connector: PostgreSQLConnector) { self.connector = connector }

    func commit(_ batch: [PendingWrite]) {
        let connection: PostgreSQLConnection
        do {
            connection = try begin()
        } catch {
            let problem = (error as? PostgreSQLConnection.Lost).map(PostgreSQLConnection.problem)
            for write in batch { write.fail(problem ?? error) }
            return
        }
        connection.commit(batch) {}
        current.withLock { $0 = connection.isAlive ? connection : nil }
    }

    /// Where the connection was lost since it was last used, no write has run: a new one is as
    /// good.
    private func begin() throws -> PostgreSQLConnection {
        let old = current.withLock { current in
            defer { current = nil }
            return current
        }
        if let old {
            do {
                try old.beginWriting()
                return old
            } catch is PostgreSQLConnection.Lost {}
        }
        let connection = try connector.connect()
        try connection.beginWriting()
        return connection
    }
}

/// Hears what replicas announce, on a thread of its own.
private struct PostgreSQLListener {
    private let connector: PostgreSQLConnector
    private let announcements: Announcements
    private let isClosed: ClosedFlag

    init(
        _ connector: PostgreSQLConnector, _ announcements: Announcements, _ isClosed: ClosedFlag
    ) {
        self.connector = connector
        self.announcements = announcements
        self.isClosed = isClosed
    }

    func run() {
        while !isClosed.isSet {
            // Whatever ends it: what was missed is made up for after the next begin.
            try? listen()
            wait(on: -1, milliseconds: Self.pauseMilliseconds)
        }
    }

    private func listen() throws {
        let connection = try connector.connect()
        try connection.listen()
        // Nobody knows what was announced while there was no connection.
        if let rows = try? connection.rows("SELECT name FROM tenants", []) {
            announcements.announce(try rows.map { try $0.text(0) })
        }
        var quietWaits = 0
        while !isClosed.isSet {
            if wait(on: connection.descriptor, milliseconds: Self.waitMilliseconds) == 0 {
                quietWaits += 1
                guard quietWaits % Self.pingEvery == 0 else { continue }
                try connection.ping()
            }
            let names = try connection.notifications()
            if !names.isEmpty { announcements.announce(names) }
        }
    }

    @discardableResult
    private func wait(on descriptor: CInt, milliseconds: CInt) -> CInt {
        branchline_wait_readable(descriptor, milliseconds)
    }

    private static let pauseMilliseconds: CInt = 100
    /// Also how long closing may take.
    private static let waitMilliseconds: CInt = 200
    /// Ten seconds.
    private static let pingEvery = 50
}

private final class ClosedFlag: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}
