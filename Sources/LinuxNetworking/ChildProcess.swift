import CLinux
import Glibc
public import SystemPackage

/// A program that this process has started.
///
/// Foundation's `Process` waits until every descendant has closed a descriptor of its own, which a
/// daemon started this way never does; waitpid waits for the child alone.
public struct ChildProcess: Sendable {
    /// Its number, until it was waited for.
    public let identifier: Int32

    /// Starts a program with this process's environment and open descriptors. posix_spawn
    ///
    /// - Parameters:
    ///   - path: The program's file.
    ///   - arguments: With the program's own name.
    ///   - input: What the program reads from standard input; `nil` lends it ours.
    ///   - startsSession: Whether it leaves the session and its terminal.
    public static func start(
        _ path: String, arguments: [String], input: String? = nil, startsSession: Bool = false
    ) throws(Errno) -> ChildProcess {
        let input = try input.map(memoryFile)
        defer { input?.close() }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let input { unsafe posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0) }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        if startsSession { unsafe posix_spawnattr_setflags(&attributes, setsid) }
        // Invariant: the copies live until posix_spawn has returned, and the list ends with null.
        var copies: [UnsafeMutablePointer<CChar>?] =
            unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { for unsafe copy in unsafe copies { unsafe free(copy) } }
        var child: pid_t = 0
        let error = unsafe posix_spawn(&child, path, &actions, &attributes, &copies, environ)
        if error != 0 { throw Errno(rawValue: error) }
        return ChildProcess(identifier: child)
    }

    /// Waits for the program's end. waitpid
    ///
    /// - Returns: Its exit code; 128 and the signal's number where a signal ended it.
    public func wait() throws(Errno) -> Int32 {
        var status: Int32 = 0
        while unsafe waitpid(identifier, &status, 0) < 0 {
            if errno != EINTR { throw Errno(rawValue: errno) }
        }
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    /// A file rather than a pipe: a program that ends without reading it cannot end us too.
    /// memfd_create
    private static func memoryFile(holding text: String) throws(Errno) -> OwnedDescriptor {
        let created = clinux_memory_file()
        if created < 0 { throw Errno(rawValue: -created) }
        let owned = OwnedDescriptor(created)
        let file = FileDescriptor(rawValue: created)
        do {
            try file.writeAll(text.utf8)
            try file.seek(offset: 0, from: .start)
        } catch {
            throw (error as? Errno) ?? .ioError
        }
        return owned
    }

    /// POSIX_SPAWN_SETSID, which the C library hides behind _GNU_SOURCE.
    private static var setsid: Int16 { 0x80 }
}
