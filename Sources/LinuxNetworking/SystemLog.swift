import CLinux

/// The system's log, for a process that has no standard error.
public enum SystemLog {
    /// How much a message matters, by syslog's numbers.
    public enum Severity: Int32, Sendable {
        case critical = 2
        case error
        case warning
        case notice
        case information
        case debug
    }

    /// Says who writes: `program[process ID]`, of the facility `daemon`. openlog
    public static func open(program: String) {
        unsafe clinux_open_log(program)
    }

    /// Nobody is left to hear of a failure, so there is none. syslog
    public static func write(_ severity: Severity, _ message: String) {
        unsafe clinux_log(severity.rawValue, message)
    }
}
