import ArgumentParser
import ControlModel
import Coordinator
import Foundation
import Logging

/// Copies the database while the coordinator serves.
struct Backup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a consistent copy of the SQLite database, also while it is in use.",
        discussion: """
            PostgreSQL has pg_dump for this. For example:

              branchline-coordinator backup /var/backups/coordinator.sqlite
            """)

    @OptionGroup var storage: StorageOptions

    @Argument(help: "The copy; it must not exist yet.")
    var file: String

    func run() async throws {
        try await StorageWork.run(storage) { database in
            try await database.backup(to: file)
            print("Wrote \(file).")
        }
    }
}

/// Asks whether the database is sound and nobody changed the audit log.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the database and the chain of the audit log.",
        discussion: """
            For example:

              branchline-coordinator check --state /var/lib/branchline-coordinator
            """, aliases: ["verify"])

    @OptionGroup var storage: StorageOptions

    func run() async throws {
        try await StorageWork.run(storage) { database in
            try await database.checkIntegrity()
            let count = try await AuditCheck.run(database, log: Logger(label: "check"))
            print("The database is sound; \(count) entries of the audit log follow one another.")
        }
    }
}

/// Work on a database that exists already.
enum StorageWork {
    static func run(
        _ options: StorageOptions, _ body: (any Storage) async throws -> Void
    ) async throws {
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        var log = Logger(label: "branchline-coordinator")
        log.logLevel = .warning
        do {
            let path = options.stateFolder
            let database = "\(path)/\(StorageOptions.databaseName)"
            if try options.kind() == .sqlite, !FileManager.default.fileExists(atPath: database) {
                throw ProgramFault(
                    "there is no \(database): name the state folder with --state", code: .unusable
                ).exit()
            }
            let storage = try await options.open(try StateFolder(path: path), log)
            do {
                try await body(storage)
            } catch {
                await storage.close()
                throw error
            }
            await storage.close()
        } catch let fault as StateFault {
            throw ProgramFault(fault.description, code: .unusable).exit()
        } catch let problem as CoordinatorAPI.Problem {
            throw ProgramFault(problem.detail, code: .storage).exit()
        }
    }
}
