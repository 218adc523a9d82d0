import ArgumentParser
import Foundation
import Logging

/// What the environment says, in the variables that wireguard-go reads and one of ours.
struct DaemonEnvironment {
    private let variables = ProcessInfo.processInfo.environment

    var isForeground: Bool { variables["WG_PROCESS_FOREGROUND"] == "1" }

    /// What tells a copy of this process to serve.
    var foregroundMark: [(name: String, value: String)] { [("WG_PROCESS_FOREGROUND", "1")] }

    /// The descriptor that a variable names; `nil` where it is unset or empty.
    func descriptor(_ variable: String) throws -> Int32? {
        guard let text = variables[variable], !text.isEmpty else { return nil }
        guard let descriptor = Int32(text), descriptor >= 0 else {
            throw ValidationError("\(variable) takes the number of an open descriptor")
        }
        return descriptor
    }

    /// As written, to be checked like the option's value; `nil` where it is unset or empty.
    var workers: String? { variables["BRANCHLINE_WORKERS"].flatMap { $0.isEmpty ? nil : $0 } }

    /// A background daemon holds its starter's output open only when LOG_LEVEL asks it to:
    /// whoever reads that output to its end, as wg-quick's caller may, would wait for ever.
    var keepsOutput: Bool { !(variables["LOG_LEVEL"] ?? "").isEmpty && level != nil }

    private var level: Logger.Level? {
        switch variables["LOG_LEVEL"] {
        case "silent": nil
        case "verbose", "debug": .debug
        case "trace": .trace
        case "info": .info
        default: .error
        }
    }

    /// Writes to standard error, or to the system's log where a background daemon lets that go.
    func makeLogger(label: String, isInBackground: Bool) -> Logger {
        guard let level else {
            return Logger(label: label) { _ in SwiftLogNoOpLogHandler() }
        }
        var logger = Logger(label: label) { label in
            if isInBackground && !keepsOutput { return SystemLogHandler(label: label) }
            return StreamLogHandler.standardError(label: label)
        }
        logger.logLevel = level
        return logger
    }
}
