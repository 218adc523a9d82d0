import CLinux
import Glibc
import Synchronization
public import SystemPackage

/// A Unix stream socket in the file system that clients of the same user connect to.
public final class UnixSocketListener: Sendable {
    public let path: String
    private let descriptor: OwnedDescriptor
    /// Which file this listener made, so that it never removes another one's.
    private let identity: FileIdentity?
    private let reserve = Mutex<Int32>(unsafe open("/dev/null", O_RDONLY | O_CLOEXEC))
    private let isClosed = Atomic<Bool>(false)
    /// Whether the file is another process's until ``ownFile()``.
    private let isFileForeign: Atomic<Bool>

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// Binds `path` with mode 0600.
    ///
    /// A socket file that nobody listens on is replaced. The file is made under a temporary name
    /// and renamed, so that at no moment others could connect to it.
    /// - Parameter path: At most 100 bytes; its directory exists.
    /// - Throws: ``UnixSocketError``. bind, listen
    public init(path: String) throws(UnixSocketError) {
        self.path = path
        try Self.clear(path)
        let created = socket(
            AF_UNIX,
            Int32(CLINUX_SOCK_STREAM | CLINUX_SOCK_CLOEXEC | CLINUX_SOCK_NONBLOCK), 0)
        if created < 0 { throw .failed(path: path, operation: "socket", Errno(rawValue: errno)) }
        descriptor = OwnedDescriptor(created)
        isFileForeign = Atomic(false)
        identity = try Self.publish(descriptor, at: path)
    }

    /// Takes over a listening socket that another process has bound to `path`, as wireguard-go
    /// does with WG_UAPI_FD.
    ///
    /// - Parameter isFileForeign: Whether the other process goes on listening and the file is its,
    ///   until ``ownFile()``.
    /// - Throws: ``UnixSocketError/notASocket(path:)`` when the descriptor does not listen.
    public init(
        adopting fileDescriptor: Int32, path: String, isFileForeign: Bool = false
    ) throws(UnixSocketError) {
        // The members are set last: a half-made listener must not remove the file.
        let owned = OwnedDescriptor(fileDescriptor)
        guard (try? owned.option(SOL_SOCKET, SO_ACCEPTCONN)) == 1 else {
            throw .notASocket(path: path)
        }
        do {
            try owned.setNonblocking()
        } catch {
            throw .failed(path: path, operation: "fcntl", error)
        }
        self.path = path
        self.isFileForeign = Atomic(isFileForeign)
        descriptor = owned
        identity = FileIdentity(path)
    }

    /// Where `wg` and its kin look for the configuration socket of an interface; the folder is made
    /// if it is missing. mkdir
    public static func configurationPath(of interface: String) -> String {
        _ = unsafe mkdir(configurationFolder, 0o755)
        return "\(configurationFolder)/\(interface).sock"
    }

    /// Where a daemon hands its interface to a newer process; the folder is made if it is missing.
    /// mkdir
    public static func handoverPath(of name: String) -> String {
        _ = unsafe mkdir(handoverFolder, 0o755)
        return "\(handoverFolder)/\(name).handover"
    }

    public static let handoverFolder = "/run/branchline"
    private static let configurationFolder = "/var/run/wireguard"

    /// Takes one waiting connection.
    ///
    /// Out of descriptors, it hangs up on those who wait.
    ///
    /// - Returns: A blocking descriptor that the caller owns, or `nil` when none waits. accept4
    public func accept() -> Int32? {
        while true {
            let accepted = clinux_accept(descriptor.rawValue)
            if accepted >= 0 { return accepted }
            if accepted == -EMFILE || accepted == -ENFILE {
                if !refuseOne() { return nil }
            } else if accepted != -EINTR && accepted != -ECONNABORTED {
                return nil
            }
        }
    }

    /// Out of descriptors: takes a waiting client and hangs up, so that it does not wake the
    /// listener for ever. Briefly needs the descriptor that was put aside for this.
    private func refuseOne() -> Bool {
        reserve.withLock { reserve in
            guard reserve >= 0 else { return false }
            _ = Glibc.close(reserve)
            let accepted = clinux_accept(descriptor.rawValue)
            if accepted >= 0 { _ = Glibc.close(accepted) }
            reserve = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
            return accepted >= 0
        }
    }

    /// Stops listening and removes the file if it is still ours.
    public func close() {
        // Once only: after that the same inode may stand for another listener's file.
        if isClosed.exchange(true, ordering: .acquiringAndReleasing) { return }
        if !isFileForeign.load(ordering: .acquiring), let identity,
            FileIdentity(path) == identity
        {
            _ = unsafe unlink(path)
        }
        descriptor.close()
    }

    /// From now on the file goes with this listener, and clients see this process behind it. listen
    public func ownFile() {
        _ = listen(descriptor.rawValue, Self.backlog)
        isFileForeign.store(false, ordering: .releasing)
    }

    /// Stops listening here; the file stays for another process that listens on the same socket.
    public func closeKeepingFile() {
        if isClosed.exchange(true, ordering: .acquiringAndReleasing) { return }
        descriptor.close()
    }

    deinit {
        close()
        reserve.withLock { _ = Glibc.close($0) }
    }

    /// Removes a socket file that nobody listens on.
    ///
    /// - Returns: Whether there was one. connect, unlink
    public static func removeDead(_ path: String) -> Bool {
        var status = stat()
        guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
            return false
        }
        do {
            try UnixSocket.connect(path).close()
            return false
        } catch {
            return unsafe error == .connectionRefused && unlink(path) == 0
        }
    }

    /// Whether somebody listens there. connect
    public static func isLive(_ path: String) -> Bool {
        guard let socket = try? UnixSocket.connect(path) else { return false }
        socket.close()
        return true
    }

    /// Makes way for a socket: removes a stale one.
    private static func clear(_ path: String) throws(UnixSocketError) {
        var status = stat()
        if unsafe lstat(path, &status) < 0 { return }
        if status.st_mode & S_IFMT != S_IFSOCK { throw .notASocket(path: path) }
        do {
            _ = try UnixSocket.connect(path)
            throw UnixSocketError.inUse(path: path)
        } catch let error as Errno {
            if error == .connectionRefused {
                _ = unsafe unlink(path)
            } else if error != .noSuchFileOrDirectory {
                throw .failed(path: path, operation: "connect", error)
            }
        } catch {
            throw .inUse(path: path)
        }
    }

    private static func publish(
        _ descriptor: OwnedDescriptor, at path: String
    ) throws(UnixSocketError) -> FileIdentity {
        let temporary = "\(path).\(getpid())"
        func failure(_ operation: String, _ error: Errno) -> UnixSocketError {
            _ = unsafe unlink(temporary)
            return .failed(path: path, operation: operation, error)
        }
        var address: sockaddr_un
        do { address = try unixAddress(temporary) } catch { throw failure("bind", error) }
        _ = unsafe unlink(temporary)
        let previousMask = umask(0o177)
        let bound = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(
                    descriptor.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        let bindError = errno
        umask(previousMask)
        if bound < 0 { throw failure("bind", Errno(rawValue: bindError)) }
        if unsafe chmod(temporary, 0o600) < 0 { throw failure("chmod", Errno(rawValue: errno)) }
        if listen(descriptor.rawValue, backlog) < 0 {
            throw failure("listen", Errno(rawValue: errno))
        }
        guard let identity = FileIdentity(temporary) else {
            throw failure("stat", Errno(rawValue: errno))
        }
        if unsafe rename(temporary, path) < 0 { throw failure("rename", Errno(rawValue: errno)) }
        return identity
    }

    /// Clients that may wait to be accepted.
    private static let backlog: Int32 = 128
}

/// What tells one file from another of the same name.
private struct FileIdentity: Equatable {
    let device: UInt64
    let inode: UInt64

    init?(_ path: String) {
        var status = stat()
        if unsafe lstat(path, &status) < 0 { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}

/// Why a Unix socket cannot be listened on.
public enum UnixSocketError: Error, Equatable, CustomStringConvertible {
    case inUse(path: String)
    case notASocket(path: String)
    case failed(path: String, operation: String, Errno)

    public var description: String {
        switch self {
        case .inUse(let path):
            return "\(path) is in use: another process already serves this interface"
        case .notASocket(let path):
            return "\(path) exists and is no socket; remove it"
        case .failed(let path, let operation, let errno):
            return "\(path): \(operation) failed: \(errno)\(Self.advice(path, errno))"
        }
    }

    /// What to do where the socket's folder is the reason.
    private static func advice(_ path: String, _ errno: Errno) -> String {
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        switch errno {
        case .notDirectory: return "; remove what is at \(folder), which must be a folder"
        case .noSuchFileOrDirectory: return "; make the folder \(folder)"
        case .readOnlyFileSystem: return "; make \(folder) writable, as with a tmpfs mounted there"
        case .permissionDenied: return "; run as root, or make \(folder) writable"
        default: return ""
        }
    }
}
