import Foundation
import LinuxNetworking

/// Other programs of this system.
enum Program {
    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - path: The program's file.
    ///   - arguments: Without the program's own name.
    ///   - input: What the program reads from standard input; `nil` lends it ours.
    /// - Returns: Its exit code; 128 and the signal's number where a signal ended it.
    static func run(_ path: String, _ arguments: [String], input: String? = nil) throws -> Int32 {
        do {
            return try ChildProcess.start(path, arguments: [path] + arguments, input: input).wait()
        } catch {
            throw Failure.failed("cannot run \(path): \(error)")
        }
    }

    /// The program's file: in a folder of PATH, which includes those of administration programs.
    static func find(_ program: String) -> String? {
        if program.contains("/") { return isExecutable(program) ? program : nil }
        let path = environment("PATH") ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]
        return folders.map { "\($0)/\(program)" }.first(where: isExecutable)
    }

    static func isExecutable(_ path: String) -> Bool {
        FileManager.default.isExecutableFile(atPath: path)
    }
}

/// The value of an environment variable; `nil` where it is not set or empty.
func environment(_ name: String) -> String? {
    guard let text = ProcessInfo.processInfo.environment[name] else { return nil }
    return text.isEmpty ? nil : text
}
