import ControlModel
import FoundationEssentials
import GRDB

/// GRDB's connection as ours, valid while GRDB lends it.
final class SQLiteConnection: BatchConnection {
    private let database: Database
    /// Tenants that this transaction announces, and those of the part that is running.
    private(set) var announced: [String] = []
    private var announcedInPart: [String] = []

    init(_ database: Database) { self.database = database }

    func execute(_ sql: String, _ arguments: [SQLValue]) throws {
        try Self.withProblems { try statement(sql, arguments).execute() }
    }

    func rows(_ sql: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
        try Self.withProblems {
            var rows: [SQLRow] = []
            let cursor = try Row.fetchCursor(try statement(sql, arguments))
            while let row = try cursor.next() {
                rows.append(SQLRow(row.databaseValues.map(SQLValue.init)))
            }
            return rows
        }
    }

    func announce(tenant: String) throws { announcedInPart.append(tenant) }

    func begin() throws { try control("BEGIN IMMEDIATE") }

    func commit() throws {
        try control("COMMIT")
        announced += announcedInPart
    }

    func rollBack() {
        // Where it fails, SQLite has rolled back already.
        if isInTransaction { try? control("ROLLBACK") }
    }

    var isInTransaction: Bool { database.isInsideTransaction }

    func beginPart() throws { try control("SAVEPOINT part") }

    func keepPart() throws {
        try control("RELEASE part")
        announced += announcedInPart
        announcedInPart = []
    }

    func dropPart() throws {
        try control("ROLLBACK TO part")
        try control("RELEASE part")
        announcedInPart = []
    }

    private func control(_ sql: String) throws {
        try Self.withProblems { try database.cachedStatement(sql: sql).execute() }
    }

    private func statement(_ sql: String, _ arguments: [SQLValue]) throws -> GRDB.Statement {
        // C ends a text at its first NUL.
        for case .text(let text) in arguments where text.utf8.contains(0) {
            throw CoordinatorAPI.Problem.invalidRequest("a text holds a NUL character")
        }
        let statement = try database.cachedStatement(sql: sql)
        try statement.setArguments(StatementArguments(arguments.map(\.databaseValue)))
        return statement
    }

    /// Runs `body`, whose failures come out as problems.
    static func withProblems<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as DatabaseError {
            throw problem(of: error)
        }
    }

    private static func problem(of error: DatabaseError) -> CoordinatorAPI.Problem {
        let text = error.message ?? "error \(error.resultCode.rawValue)"
        switch error.resultCode {
        case .SQLITE_FULL:
            return .storageUnavailable("the coordinator's disk is full: make room on it")
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return .storageUnavailable("the database is damaged (\(text)): restore a backup")
        case .SQLITE_CONSTRAINT, .SQLITE_ERROR, .SQLITE_MISUSE, .SQLITE_RANGE, .SQLITE_MISMATCH:
            return .internal("SQLite: \(text)")
        default:
            return .storageUnavailable("SQLite: \(text)")
        }
    }
}

extension SQLValue {
    fileprivate init(_ value: DatabaseValue) {
        switch value.storage {
        case .null: self = .null
        case .int64(let number): self = .integer(number)
        // No column of ours holds fractions.
        case .double(let number): self = .integer(Int64(exactly: number) ?? 0)
        case .string(let text): self = .text(text)
        case .blob(let data): self = .bytes([UInt8](data))
        }
    }

    fileprivate var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let number): number.databaseValue
        case .text(let text): text.databaseValue
        case .bytes(let bytes): Data(bytes).databaseValue
        }
    }
}
