import ControlModel
import Foundation
import Synchronization
import Testing

@testable import Coordinator

@Suite struct StorageTests {
    @Test(.enabled(
        if: Backend.server != nil,
        "PostgreSQL is NOT tested: set BRANCHLINE_TEST_POSTGRESQL, see Tests/postgresql.sh"))
    func postgreSQLIsTested() {
        #expect(Backend.available.contains(.postgreSQL))
    }

    private func table(_ storage: any Storage) async throws {
        try await storage.write { connection in
            try connection.execute(
                Schema.spell(
                    "CREATE TABLE t (id BIGINT PRIMARY KEY, note {text}, data {bytes})",
                    storage.dialect), [])
        }
    }

    private func insert(_ id: Int64, _ storage: any Storage) async throws {
        try await storage.write { connection in
            try connection.execute("INSERT INTO t (id) VALUES (?)", [.integer(id)])
        }
    }

    private func count(_ storage: any Storage) async throws -> Int64 {
        try await storage.read { try $0.rows("SELECT COUNT(*) FROM t", [])[0].integer(0) }
    }

    @Test(arguments: Backend.available)
    func valuesComeBackAsTheyWere(over backend: Backend) async throws {
        try await withStorage(backend) { storage, _ in
            try await table(storage)
            let rows: [[SQLValue]] = [
                [.integer(.min), .text(""), .bytes([])],
                [.integer(.max), .text("ü'\"?$1\\x00\n"), .bytes(Array(0...255))],
                [.integer(0), .null, .null],
            ]
            for row in rows {
                try await storage.write {
                    try $0.execute("INSERT INTO t (id, note, data) VALUES (?, ?, ?)", row)
                }
            }
            let found = try await storage.read {
                try $0.rows("SELECT id, note, data FROM t ORDER BY id", [])
            }
            #expect(found == [rows[0], rows[2], rows[1]].map(SQLRow.init))
            #expect(await reason {
                try await storage.write {
                    try $0.execute("INSERT INTO t (id, note) VALUES (1, ?)", [.text("a\u{0}b")])
                }
            } == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func aWriteThatThrowsTakesOnlyItselfBack(over backend: Backend) async throws {
        struct Failure: Error {}
        try await withStorage(backend) { storage, _ in
            try await table(storage)
            let outcomes = await withTaskGroup(of: Bool.self) { group in
                for id in 0..<100 {
                    group.addTask {
                        do {
                            try await storage.write { connection in
                                try connection.execute(
                                    "INSERT INTO t (id) VALUES (?)", [.integer(Int64(id))])
                                if id % 3 == 0 { throw Failure() }
                                // A constraint fails inside of the database.
                                if id % 3 == 1 {
                                    try connection.execute(
                                        "INSERT INTO t (id) VALUES (?)", [.integer(Int64(id))])
                                }
                            }
                            return true
                        } catch {
                            return false
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.filter { $0 }.count == 33)
            #expect(try await count(storage) == 33)
        }
    }

    @Test(arguments: Backend.available)
    func announcementsFollowTheCommit(over backend: Backend) async throws {
        struct Failure: Error {}
        try await withStorage(backend) { storage, database in
            try await table(storage)
            let other = backend == .postgreSQL ? try database.open() : storage
            var names = other.tenantChanges.makeAsyncIterator()
            // Until the listener listens, nothing is heard; ask until it does.
            let knocking = Task {
                while !Task.isCancelled {
                    try await storage.write { try $0.announce(tenant: "knock") }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            #expect(await names.next() == "knock")
            knocking.cancel()
            _ = await knocking.result
            _ = try? await storage.write { connection in
                try connection.announce(tenant: "never")
                throw Failure()
            }
            try await storage.write { try $0.announce(tenant: "acme") }
            var heard = await names.next()
            while heard == "knock" { heard = await names.next() }
            #expect(heard == "acme")
            if backend == .postgreSQL { await other.close() }
        }
    }

    @Test(arguments: Backend.available)
    func newerSchemasAreRefused(over backend: Backend) async throws {
        try await withStorage(backend) { storage, _ in
            let world = try await World(storage)
            _ = try await World.service(storage, world.clock)
            try await storage.write {
                try $0.execute("INSERT INTO schema_versions (version) VALUES (99)", [])
            }
            #expect(await reason { try await World.service(storage, world.clock) }
                == "storage_unavailable")
        }
    }

    @Test(arguments: Backend.available)
    func nothingRunsAfterClose(over backend: Backend) async throws {
        try await withStorage(backend) { storage, _ in
            try await table(storage)
            await storage.close()
            #expect(await reason { try await insert(1, storage) } == "storage_unavailable")
            #expect(await reason { try await count(storage) } == "storage_unavailable")
        }
    }

    @Test(arguments: Backend.available)
    func soundDatabasesAreCalledSound(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            _ = try await world.node()
            try await world.storage.checkIntegrity()
        }
    }

    @Test func filesAreTheirOwnersAlone() async throws {
        try await withStorage(.sqlite) { storage, database in
            try await table(storage)
            for suffix in ["", "-wal", "-shm"] {
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: database.place + suffix)
                #expect(attributes[.posixPermissions] as? Int == 0o600)
            }
        }
    }

    @Test func backupsAreConsistentCopies() async throws {
        try await withStorage(.sqlite) { storage, database in
            try await table(storage)
            try await insert(1, storage)
            let path = database.place + ".backup"
            let writing = Task {
                for id in 2..<50 { try await insert(Int64(id), storage) }
            }
            try await storage.backup(to: path)
            try await writing.value
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            let copy = try SQLiteStorage(path: path)
            #expect(try await count(copy) >= 1)
            try await copy.checkIntegrity()
            await copy.close()
            #expect(await reason { try await storage.backup(to: path) } == "already_exists")
            #expect(await reason { try await storage.backup(to: "/nowhere/x") }
                == "storage_unavailable")
        }
    }

    /// What a killed process leaves: the file and its log, as they are while a transaction runs.
    @Test func whatWasCommittedSurvivesADeathInMidWrite() async throws {
        try await withStorage(.sqlite) { storage, database in
            try await table(storage)
            for id in 0..<20 { try await insert(Int64(id), storage) }
            let copy = database.place + ".crashed"
            try await storage.write { connection in
                try connection.execute("DELETE FROM t", [])
                try connection.execute("INSERT INTO t (id) VALUES (1000)", [])
                for suffix in ["", "-wal"] {
                    try FileManager.default.copyItem(
                        atPath: database.place + suffix, toPath: copy + suffix)
                }
            }
            // A torn page at the end of the log, too.
            let log = try FileHandle(forWritingTo: URL(filePath: copy + "-wal"))
            try log.seekToEnd()
            try log.write(contentsOf: Data(repeating: 7, count: 1_000))
            try log.close()
            let reopened = try SQLiteStorage(path: copy)
            #expect(try await count(reopened) == 20)
            try await reopened.checkIntegrity()
            await reopened.close()
        }
    }

    @Test func aFullDiskFailsWritesAndNothingElse() async throws {
        try await withStorage(.sqlite) { storage, _ in
            try await table(storage)
            try await insert(1, storage)
            _ = try await limitPages(storage, extra: 8)
            let large = [UInt8](repeating: 1, count: 100_000)
            let reasons = await withTaskGroup(of: String?.self) { group in
                for id in 2..<20 {
                    group.addTask {
                        await reason {
                            try await storage.write { connection in
                                try connection.execute(
                                    "INSERT INTO t (id, data) VALUES (?, ?)",
                                    [.integer(Int64(id)), .bytes(large)])
                            }
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reasons.allSatisfy { $0 == "storage_unavailable" })
            #expect(try await count(storage) == 1)
            _ = try await limitPages(storage, extra: 100_000)
            try await insert(2, storage)
            #expect(try await count(storage) == 2)
            try await storage.checkIntegrity()
        }
    }

    /// SQLite answers a full page count as it does a full disk.
    private func limitPages(_ storage: any Storage, extra: Int64) async throws -> Int64 {
        try await storage.write { connection in
            let pages = try connection.rows("PRAGMA page_count", [])[0].integer(0)
            return try connection.rows("PRAGMA max_page_count = \(pages + extra)", [])[0]
                .integer(0)
        }
    }

    @Test func filesOfSomethingElseAreRefused() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "branchline-\(UUID().uuidString)").path
        try Data("this is no database, but long enough to have a header".utf8)
            .write(to: URL(filePath: path))
        #expect(throws: CoordinatorAPI.Problem.self) { try SQLiteStorage(path: path) }
        #expect(throws: CoordinatorAPI.Problem.self) { try SQLiteStorage(path: "/nowhere/x") }
        try FileManager.default.removeItem(atPath: path)
    }
}

/// What only a server can do: go away.
@Suite(.enabled(if: Backend.server != nil), .serialized)
struct PostgreSQLTests {
    @Test func lostConnectionsFailWhatIsUnderWayAndNothingLater() async throws {
        try await withStorage(.postgreSQL) { storage, database in
            let world = try await World(storage)
            try await world.prepare()
            _ = try await world.service.tenant("acme", by: world.owner)
            // Idle connections that were cut are replaced unseen.
            try cutOff(database)
            _ = try await world.service.tenant("acme", by: world.owner)
            try cutOff(database)
            let node = try await world.node()
            // One that is cut in the middle of a write is not repeated.
            let runs = Mutex(0)
            let reason = await reason {
                try await world.storage.write { connection in
                    runs.withLock { $0 += 1 }
                    try connection.execute("UPDATE tenants SET revision = 99", [])
                    try self.cutOff(database)
                    _ = try connection.rows("SELECT 1", [])
                }
            }
            #expect(reason == "storage_unavailable")
            #expect(runs.withLock { $0 } == 1)
            #expect(try await world.service.tenant("acme", by: world.owner).revision == 1)
            #expect(try await world.state(node) == .active)
        }
    }

    @Test func allTenantsAreAnnouncedAfterAReconnect() async throws {
        try await withStorage(.postgreSQL) { storage, database in
            let world = try await World(storage)
            try await world.prepare()
            var names = world.storage.tenantChanges.makeAsyncIterator()
            // The listener may still be on its way.
            try await Task.sleep(for: .milliseconds(300))
            try cutOff(database)
            var heard: Set<String> = []
            while heard.count < 2, let name = await names.next() { heard.insert(name) }
            #expect(heard == ["acme", "beta"])
        }
    }

    @Test func replicasWriteOneAfterAnother() async throws {
        try await withStorage(.postgreSQL) { storage, database in
            let world = try await World(storage)
            try await world.prepare()
            let otherStorage = try database.open()
            let other = try await World.service(otherStorage, world.clock)
            let addresses = try await withThrowingTaskGroup(of: [String].self) { group in
                for index in 0..<60 {
                    let service = index % 2 == 0 ? world.service : other
                    group.addTask {
                        try await service.reserve("acme", .init(), by: world.owner).addresses
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(Set(addresses).count == 120)
            let entries = try await other.audit(
                by: world.owner, after: 0, limit: 1_000, tenant: nil).items
            var chain = AuditChain()
            for entry in entries { try chain.accept(entry) }
            #expect(chain.count == 65)
            await otherStorage.close()
        }
    }

    @Test func serversThatAreNotThereAreSaidToBeSo() async throws {
        let storage = PostgreSQLStorage("host=/nowhere dbname=x")
        #expect(await reason { try await storage.write { _ in } } == "storage_unavailable")
        #expect(await reason { try await storage.read { _ in } } == "storage_unavailable")
        #expect(await reason { try await storage.backup(to: "/tmp/x") } == "invalid_request")
        await storage.close()
    }

    /// Ends all connections to a database, and waits until they have ended.
    private func cutOff(_ database: TestDatabase) throws {
        try TestDatabase.onServer(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                + "WHERE datname = '\(database.place)'")
    }
}
