import ControlModel
import Foundation
import Synchronization
import Testing

@testable import Coordinator

/// A storage that the suite runs over.
enum Backend: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case sqlite = "SQLite"
    case postgreSQL = "PostgreSQL"

    /// Conninfo of a server in which tests make databases of their own.
    static let server = ProcessInfo.processInfo.environment["BRANCHLINE_TEST_POSTGRESQL"]

    static let available: [Backend] = server == nil ? [.sqlite] : allCases

    var testDescription: String { rawValue }
}

/// A database that lives as long as one test.
final class TestDatabase: Sendable {
    let backend: Backend
    /// Path of the file, or name of the database.
    let place: String

    init(_ backend: Backend) throws {
        self.backend = backend
        let name = "branchline_test_\(UUID().uuidString.lowercased().prefix(13))"
            .replacing("-", with: "_")
        switch backend {
        case .sqlite:
            let folder = FileManager.default.temporaryDirectory.appending(path: name)
            try FileManager.default.createDirectory(
                at: folder, withIntermediateDirectories: false)
            place = folder.appending(path: "coordinator.sqlite").path
        case .postgreSQL:
            place = name
            try Self.onServer("CREATE DATABASE \(name) TEMPLATE template0")
        }
    }

    /// A storage over the database; several may be open at once.
    func open() throws -> any Storage {
        switch backend {
        case .sqlite: try SQLiteStorage(path: place)
        case .postgreSQL: PostgreSQLStorage("\(Backend.server ?? "") dbname=\(place)")
        }
    }

    func remove() throws {
        switch backend {
        case .sqlite:
            try FileManager.default.removeItem(
                at: URL(filePath: place).deletingLastPathComponent())
        case .postgreSQL: try Self.onServer("DROP DATABASE \(place) WITH (FORCE)")
        }
    }

    static func onServer(_ sql: String) throws {
        try PostgreSQLConnection(Backend.server ?? "").run(sql)
    }
}

/// Lets a few tests at a time in: a server has room for so many connections only.
private actor Gate {
    private var free: Int
    private var waiters: [CheckedContinuation<Void, Never>] = []

    init(_ count: Int) { free = count }

    func enter() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiters.append($0) }
        }
    }

    func leave() {
        if waiters.isEmpty { free += 1 } else { waiters.removeFirst().resume() }
    }
}

private let gate = Gate(6)

/// Runs `body` over an empty database, which is removed afterwards.
func withStorage(
    _ backend: Backend, _ body: (any Storage, TestDatabase) async throws -> Void
) async throws {
    await gate.enter()
    do {
        try await withStorageNow(backend, body)
    } catch {
        await gate.leave()
        throw error
    }
    await gate.leave()
}

private func withStorageNow(
    _ backend: Backend, _ body: (any Storage, TestDatabase) async throws -> Void
) async throws {
    let database = try TestDatabase(backend)
    let storage = try database.open()
    do {
        try await body(storage, database)
    } catch {
        await storage.close()
        try database.remove()
        throw error
    }
    await storage.close()
    try database.remove()
}

/// A clock that stands until it is moved.
final class TestClock: Sendable {
    private let second: Mutex<Int64>

    init(_ second: Int64) { self.second = Mutex(second) }

    var now: Int64 { second.withLock { $0 } }
    func advance(_ seconds: Int64) { second.withLock { $0 += seconds } }
}
