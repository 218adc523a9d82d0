import Glibc
import SystemPackage

/// Runs other programs and waits for them.
///
/// Foundation's `Process` waits until every descendant has closed a descriptor of its own, which a
/// daemon started this way never does; posix_spawn and waitpid wait for the child alone.
enum ChildProcess {
    /// - Parameters:
    ///   - path: The program's file.
    ///   - arguments: Without the program's own name.
    ///   - input: What the program reads from standard input; `nil` lends it ours.
    /// - Returns: Its exit code; 128 and the signal's number where a signal ended it.
    static func run(_ path: String, _ arguments: [String], input: String? = nil) throws -> Int32 {
        guard let input else { return try wait(for: spawn(path, [path] + arguments, input: nil)) }
        let file = try temporaryFile(holding: input)
        let child = try file.closeAfter { try spawn(path, [path] + arguments, input: file) }
        return try wait(for: child)
    }

    /// The program's file: in a folder of PATH, which includes those of administration programs.
    static func find(_ program: String) -> String? {
        if program.contains("/") { return isExecutable(program) ? program : nil }
        let path = environment("PATH") ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]
        return folders.map { "\($0)/\(program)" }.first(where: isExecutable)
    }

    static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

    /// A file rather than a pipe: a program that ends without reading it cannot end us too.
    ///
    /// mkstemp(3)
    private static func temporaryFile(holding text: String) throws -> FileDescriptor {
        var template = Array("/tmp/branchline-XXXXXX".utf8CString)
        let raw = unsafe mkstemp(&template)
        guard raw >= 0 else {
            throw Failure.failed("cannot make a file in /tmp: \(Errno(rawValue: errno))")
        }
        _ = unsafe unlink(template)
        let file = FileDescriptor(rawValue: raw)
        try file.writeAll(text.utf8)
        try file.seek(offset: 0, from: .start)
        return file
    }

    private static func spawn(
        _ path: String, _ words: [String], input: FileDescriptor?
    ) throws -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let input { unsafe posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0) }
        // Invariant: the copies live until posix_spawn has returned, and the list ends with null.
        var copies = unsafe words.map { unsafe strdup($0) }
        unsafe copies.append(nil)
        defer { unsafe copies.forEach { unsafe free($0) } }
        var child: pid_t = 0
        let error = unsafe posix_spawn(&child, path, &actions, nil, copies, environ)
        guard error == 0 else {
            throw Failure.failed("cannot run \(path): \(Errno(rawValue: error))")
        }
        return child
    }

    private static func wait(for child: pid_t) throws -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0 {
            let error = Errno(rawValue: errno)
            guard error == .interrupted else {
                throw Failure.failed("cannot wait for process \(child): \(error)")
            }
        }
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }
}

/// The value of an environment variable; `nil` where it is not set or empty.
func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
}
