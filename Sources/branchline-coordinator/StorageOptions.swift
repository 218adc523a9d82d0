import ArgumentParser
import Coordinator
import Foundation
import Logging

/// Where the coordinator keeps everything.
struct StorageOptions: ParsableArguments {
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case sqlite, postgresql
    }

    @Option(help: "State folder (default: /var/lib/branchline-coordinator for root).")
    var state: String?

    @Option(help: "sqlite (default) or postgresql.")
    var storage: Kind?

    @Option(
        help: ArgumentHelp(
            "Connection of libpq; a password belongs into ~/.pgpass.", valueName: "conninfo"))
    var postgresql: String?

    var stateFolder: String {
        if let state = state ?? Environment["STATE"] { return state }
        if getuid() == 0 { return "/var/lib/branchline-coordinator" }
        let variables = ProcessInfo.processInfo.environment
        let base = variables["XDG_STATE_HOME"] ?? "\(NSHomeDirectory())/.local/state"
        return "\(base)/branchline-coordinator"
    }

    func kind() throws -> Kind {
        if let storage { return storage }
        if let text = Environment["STORAGE"] {
            guard let kind = Kind(rawValue: text) else {
                throw ValidationError("\(Environment.name(of: "STORAGE")) is sqlite or postgresql.")
            }
            return kind
        }
        return connection == nil ? .sqlite : .postgresql
    }

    private var connection: String? { postgresql ?? Environment["POSTGRESQL"] }

    /// Opens the storage.
    func open(_ folder: StateFolder, _ log: Logger) async throws -> any Storage {
        switch try kind() {
        case .sqlite: return try SQLiteStorage(path: folder.path(of: Self.databaseName))
        case .postgresql:
            guard let connection else {
                throw ValidationError("PostgreSQL needs --postgresql CONNINFO.")
            }
            return PostgreSQLStorage(connection)
        }
    }

    static let databaseName = "coordinator.sqlite"
}

/// Options by environment variables.
enum Environment {
    static func name(of option: String) -> String { "BRANCHLINE_COORDINATOR_\(option)" }

    static func flag(of option: String) -> String {
        "--" + option.lowercased().replacing("_", with: "-")
    }

    /// - Returns: `nil` where it is not set, or empty.
    static subscript(option: String) -> String? {
        let value = ProcessInfo.processInfo.environment[name(of: option)]
        return value?.isEmpty == false ? value : nil
    }

    static func number(_ option: String, _ given: Double?) throws -> Double? {
        if let given { return given }
        guard let text = self[option] else { return nil }
        guard let number = Double(text) else {
            throw ValidationError("\(name(of: option)) is no number.")
        }
        return number
    }
}
