import ArgumentParser
import ControlModel
import Coordinator
import Foundation
import Logging

/// Puts a backup in the place of the SQLite database.
///
/// 1. Nobody else may work in the folder, from here to the end.
/// 2. The backup is copied into the folder and the copy is checked.
/// 3. The old database moves aside, with its companions, and the copy takes its place.
struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put a backup in the place of the SQLite database; the old one is kept.",
        discussion: """
            The coordinator must be stopped. The backup is checked first, with its audit log; \
            nothing is deleted. PostgreSQL has pg_restore for this.
            """)

    @OptionGroup var storage: StorageOptions

    @Argument(help: "A file that branchline-coordinator backup wrote.")
    var file: String

    @Flag(help: "Do not ask.")
    var yes = false

    func run() async throws {
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        do {
            try await restore()
        } catch let fault as StateFault {
            throw ProgramFault(fault.description, code: .unusable).exit()
        } catch let problem as CoordinatorAPI.Problem {
            throw ProgramFault("\(file): \(problem.detail)", code: .storage).exit()
        } catch let fault as ProgramFault {
            throw fault.exit()
        }
    }

    private func restore() async throws {
        guard try storage.kind() == .sqlite else {
            throw ProgramFault("restore is for SQLite; PostgreSQL has pg_restore", code: .unusable)
        }
        try checkFile()
        let folder = try StateFolder(path: storage.stateFolder)
        let lock = try StateLock(folder)
        defer { withExtendedLifetime(lock) {} }
        let copy = folder.path(of: ".restore.sqlite")
        Self.remove(copy)
        do {
            try Self.copy(file, to: copy)
            let count = try await check(copy)
            try confirm(count, folder)
            // A fresh one: the check left companions, and may have changed the copy.
            Self.remove(copy)
            try Self.copy(file, to: copy)
            let kept = try replace(folder.path(of: StorageOptions.databaseName), by: copy)
            tell(folder, kept)
        } catch {
            Self.remove(copy)
            throw error
        }
    }

    private func checkFile() throws {
        guard FileManager.default.isReadableFile(atPath: file) else {
            throw ProgramFault("there is no \(file), or it cannot be read", code: .unusable)
        }
        let log = (try? FileManager.default.attributesOfItem(atPath: "\(file)-wal"))?[.size]
        guard (log as? Int ?? 0) == 0 else {
            throw ProgramFault(
                "\(file)-wal belongs to \(file), which is in use or was copied by other means: "
                    + "make a backup of it with branchline-coordinator backup", code: .unusable)
        }
    }

    private func check(_ copy: String) async throws -> Int64 {
        var log = Logger(label: "restore")
        log.logLevel = .warning
        let database = try SQLiteStorage(path: copy)
        let count: Int64
        do {
            try await database.checkIntegrity()
            count = try await AuditCheck.run(database, log: log)
        } catch {
            await database.close()
            throw error
        }
        await database.close()
        guard count > 0 else {
            throw ProgramFault("\(file) holds no organisation", code: .storage)
        }
        return count
    }

    private func confirm(_ count: Int64, _ folder: StateFolder) throws {
        guard !yes else { return }
        guard isatty(STDIN_FILENO) == 1 else {
            throw ProgramFault("nobody can be asked here: repeat with --yes", code: .unusable)
        }
        print(
            "\(file) is sound, with \(count) entries of the audit log. Put it in the place of the "
                + "database in \(folder.path)? [y/N] ", terminator: "")
        guard ["y", "yes"].contains(readLine()?.lowercased() ?? "") else {
            throw ProgramFault("nothing was changed", code: .unusable)
        }
    }

    /// - Returns: Where the old database is now; `nil` where there was none.
    private func replace(_ path: String, by copy: String) throws -> String? {
        let files = FileManager.default
        let kept = "\(path).\(Int64(Date().timeIntervalSince1970)).replaced"
        let isThere = files.fileExists(atPath: path)
        do {
            // The database first: SQLite applies no log to a database that is not there.
            for suffix in ["", "-wal", "-shm"] where files.fileExists(atPath: path + suffix) {
                try files.moveItem(atPath: path + suffix, toPath: kept + suffix)
            }
            try files.moveItem(atPath: copy, toPath: path)
        } catch {
            throw ProgramFault(
                "cannot put the backup in place: \(error.localizedDescription). The old database "
                    + "is \(kept), if it is not \(path).", code: .unusable)
        }
        return isThere ? kept : nil
    }

    private func tell(_ folder: StateFolder, _ kept: String?) {
        print("Restored \(folder.path(of: StorageOptions.databaseName)) from \(file).")
        if let kept { print("The database before is \(kept), with its -wal and -shm.") }
        print(
            """
            Next:
            1. Start the coordinator.
            2. Revocation lists that were published after the backup are newer than the ones in
               it, and nodes that saw them refuse what builds on older ones. An admin whose tool
               has the newer list must publish it; `branchline node show --json` says what nodes
               saw.
            3. Nodes that joined after the backup are not known here: they must join again.
            4. The certificate's key is not in the database. In a new folder the coordinator has a
               new pin, unless the old folder's tls files are there, too.
            """)
    }

    /// Only its owner may read the copy, whoever may read the backup.
    private static func copy(_ file: String, to copy: String) throws {
        do {
            guard
                FileManager.default.createFile(
                    atPath: copy, contents: nil, attributes: [.posixPermissions: 0o600])
            else { throw CocoaError(.fileWriteUnknown) }
            let source = try FileHandle(forReadingFrom: URL(filePath: file))
            let target = try FileHandle(forWritingTo: URL(filePath: copy))
            while let part = try source.read(upToCount: 1 << 20), !part.isEmpty {
                try target.write(contentsOf: part)
            }
            try target.synchronize()
            try target.close()
            try source.close()
        } catch {
            throw ProgramFault(
                "cannot copy \(file) to \(copy): \(error.localizedDescription)", code: .unusable)
        }
    }

    private static func remove(_ path: String) {
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + suffix)
        }
    }
}
