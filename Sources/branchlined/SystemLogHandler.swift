import LinuxNetworking
import Logging

/// Sends log messages to the system's log, each after its logger's label.
struct SystemLogHandler: LogHandler {
    let label: String
    var logLevel = Logger.Level.error
    var metadata: Logger.Metadata = [:]

    init(label: String) {
        self.label = label
        SystemLog.open(program: "branchlined")
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        SystemLog.write(Self.severity(event.level), "\(label): \(event.message)")
    }

    private static func severity(_ level: Logger.Level) -> SystemLog.Severity {
        switch level {
        case .trace, .debug: .debug
        case .info: .information
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}
