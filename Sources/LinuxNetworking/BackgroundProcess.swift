import Glibc
public import SystemPackage

/// Turns a daemon into a background process, without forking a process that has threads: a copy of
/// the program is started in a session of its own, and says when it serves.
public enum BackgroundProcess {
    /// Why the copy did not come to serve.
    public enum Failure: Error, CustomStringConvertible {
        case notStarted(Errno)
        /// It ended; it has said why on standard error.
        case ended(exitCode: Int32)

        public var description: String {
            switch self {
            case .notStarted(let errno): "the background process could not be started: \(errno)"
            case .ended(let code): "the background process ended with exit code \(code)"
            }
        }
    }

    /// Starts this program again, with `variables` added to its environment, and returns when the
    /// copy has announced that it serves. posix_spawn
    public static func restartSelf(
        arguments: [String], adding variables: [(name: String, value: String)]
    ) throws(Failure) {
        var ends: (Int32, Int32) = (-1, -1)
        let made = unsafe withUnsafeMutablePointer(to: &ends) {
            unsafe $0.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe pipe($0) }
        }
        guard made == 0 else { throw .notStarted(Errno(rawValue: errno)) }
        _ = fcntl(ends.0, F_SETFD, FD_CLOEXEC)
        for (name, value) in variables { _ = unsafe setenv(name, value, 1) }
        _ = unsafe setenv(Readiness.variable, "\(ends.1)", 1)
        defer { close(ends.0) }
        let child: ChildProcess
        do {
            child = try ChildProcess.start(
                "/proc/self/exe", arguments: arguments, startsSession: true)
            close(ends.1)
        } catch {
            close(ends.1)
            throw .notStarted(error)
        }
        if isAnnounced(on: ends.0) { return }
        throw .ended(exitCode: (try? child.wait()) ?? EXIT_FAILURE)
    }

    private static func isAnnounced(on descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        while true {
            let count = unsafe read(descriptor, &byte, 1)
            if count == 1 { return true }
            if count == 0 || errno != EINTR { return false }
        }
    }

    /// The copy's way of saying that it serves.
    public struct Readiness: Sendable {
        static let variable = "BRANCHLINE_READY_FD"
        private let descriptor: Int32

        /// - Returns: `nil` in a process that ``restartSelf(arguments:adding:)`` did not start.
        public static func inherited() -> Readiness? {
            guard let text = unsafe getenv(variable),
                let descriptor = Int32(unsafe String(cString: text))
            else { return nil }
            _ = unsafe unsetenv(variable)
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            return Readiness(descriptor: descriptor)
        }

        /// Lets the starter return. Unless `keepingOutput`, standard input, output and error are
        /// let go first, so that nobody waits for them to close.
        public func announce(keepingOutput: Bool) {
            if !keepingOutput {
                let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
                for standard in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where null >= 0 {
                    dup2(null, standard)
                }
            }
            var byte: UInt8 = 1
            _ = unsafe write(descriptor, &byte, 1)
            close(descriptor)
        }
    }
}
