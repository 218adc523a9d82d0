import CLinux
import Glibc
import SystemPackage

/// A network namespace that a file stands for: one of ip-netns(8), or /proc/PID/ns/net.
///
/// It is held by its path and its identity, not by a descriptor: the owner may remove it at any
/// time, and from then on every use throws ``NamespaceError/vanished(path:)``. A socket that was
/// opened inside keeps a namespace, and all devices in it, alive after its removal; close it soon.
public struct NetworkNamespace: Sendable {
    /// The file that stands for it.
    public let path: String
    private let identity: Identity

    /// Where ip-netns(8) keeps the namespaces that have names.
    public static let folder = "/run/netns"

    /// Makes a namespace, with its loopback device up, that `ip netns` shows and that stays until
    /// it is removed.
    ///
    /// The calling thread is in it for a moment. unshare, mount
    /// - Throws: ``NamespaceError/exists(name:)`` when there is anything of that name.
    public static func create(name: String) throws(NamespaceError) -> NetworkNamespace {
        let path = try path(of: name)
        try prepareFolder()
        let operation = "make the network namespace \(name)"
        let file = unsafe Glibc.open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)
        if file < 0 {
            let error = Errno(rawValue: errno)
            throw error == .fileExists ? .exists(name: name) : NamespaceError(operation, error)
        }
        _ = close(file)
        var isMade = false
        defer { if !isMade { _ = unsafe unlink(path) } }
        let ours = try currentDescriptor()
        var status = clinux_enter_new_network_namespace()
        if status < 0 { throw NamespaceError(operation, Errno(rawValue: -status)) }
        status = unsafe clinux_bind_mount(currentPath, path)
        let loopback = setLoopbackUp()
        // Cannot fail: this thread was there a moment ago, and the descriptor keeps it alive.
        _ = clinux_enter_network_namespace(ours.rawValue)
        if status < 0 { throw NamespaceError(operation, Errno(rawValue: -status)) }
        do throws(NamespaceError) {
            if let loopback { throw NamespaceError(operation, loopback) }
            let namespace = try NetworkNamespace(path: path)
            isMade = true
            return namespace
        } catch {
            _ = unsafe clinux_unmount(path)
            throw error
        }
    }

    /// Finds a namespace by its name.
    /// - Throws: ``NamespaceError/missing(path:)``, ``NamespaceError/wrongKind(path:)``.
    public init(name: String) throws(NamespaceError) {
        try self.init(path: Self.path(of: name))
    }

    /// Finds a namespace by the file that stands for it, such as /proc/PID/ns/net.
    /// - Throws: ``NamespaceError/missing(path:)``, ``NamespaceError/wrongKind(path:)``.
    public init(path: String) throws(NamespaceError) {
        self.path = path
        let descriptor = try Self.open(path)
        identity = try Self.inside(descriptor, path) { Self.identity(descriptor, path) }.get()
    }

    /// Runs `body` with the calling thread, and no other, inside; sockets that it opens stay there.
    ///
    /// - Throws: ``NamespaceError``, or what `body` throws. setns
    public func perform<Result>(_ body: () throws -> Result) throws -> Result {
        let descriptor = try openAgain()
        let outcome = try Self.inside(descriptor, path) { () -> Swift.Result<Result, any Error> in
            switch Self.identity(descriptor, path) {
            case .success(identity): return Swift.Result { try body() }
            case .success: return .failure(NamespaceError.vanished(path: path))
            case .failure(let error): return .failure(error)
            }
        }
        return try outcome.get()
    }

    /// Whether the file still stands for this namespace; also where that cannot be found out, as
    /// without a free descriptor.
    public var isPresent: Bool {
        do {
            try perform {}
            return true
        } catch NamespaceError.vanished {
            return false
        } catch {
            return true
        }
    }

    /// Takes the name away, as `ip netns delete` does; the namespace ends with the last process and
    /// socket in it, and with it its devices.
    ///
    /// - Throws: ``NamespaceError/vanished(path:)`` when the name is another namespace's by now.
    ///   umount2, unlink
    public func remove() throws(NamespaceError) {
        let operation = "remove the network namespace \(path)"
        guard isPresent else { throw .vanished(path: path) }
        let status = unsafe clinux_unmount(path)
        if status < 0 { throw NamespaceError(operation, Errno(rawValue: -status)) }
        if unsafe unlink(path) != 0 { throw NamespaceError(operation, Errno(rawValue: errno)) }
    }

    /// A descriptor that stands for the namespace, and keeps it alive while it is open.
    func descriptor() throws -> OwnedDescriptor {
        try perform { try Self.currentDescriptor() }
    }
}

extension NetworkNamespace: Hashable, CustomStringConvertible {
    /// Whether both are the same namespace, by whichever path.
    public static func == (first: NetworkNamespace, second: NetworkNamespace) -> Bool {
        first.identity == second.identity
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(identity) }

    /// Its name, or its path where it has none.
    public var description: String {
        let prefix = "\(Self.folder)/"
        return path.hasPrefix(prefix) ? String(path.dropFirst(prefix.count)) : path
    }
}

// MARK: - Steps

extension NetworkNamespace {
    /// The kernel gives an inode number again as soon as it is free, a cookie never.
    private struct Identity: Hashable, Sendable {
        var device: UInt64 = 0
        var inode: UInt64 = 0
        /// 0 before Linux 5.14.
        var cookie: UInt64 = 0
    }

    /// - Parameter descriptor: Of the namespace that the calling thread is in.
    private static func identity(
        _ descriptor: OwnedDescriptor, _ path: String
    ) -> Result<Identity, NamespaceError> {
        let operation = "identify the network namespace \(path)"
        var status = stat()
        guard unsafe fstat(descriptor.rawValue, &status) == 0 else {
            return .failure(NamespaceError(operation, Errno(rawValue: errno)))
        }
        var identity = Identity()
        identity.device = UInt64(status.st_dev)
        identity.inode = UInt64(status.st_ino)
        let error = unsafe clinux_network_namespace_cookie(&identity.cookie)
        // A kernel without cookies says ENOPROTOOPT. A process without descriptors must not take a
        // namespace for another.
        guard error == 0 || error == -ENOPROTOOPT else {
            return .failure(NamespaceError(operation, Errno(rawValue: -error)))
        }
        return .success(identity)
    }

    private static func path(of name: String) throws(NamespaceError) -> String {
        if let reason = NamespaceName.fault(in: name) { throw .invalidName(name, reason: reason) }
        return "\(folder)/\(name)"
    }

    private static func open(_ path: String) throws(NamespaceError) -> OwnedDescriptor {
        // What is no namespace may be a FIFO, which would be waited for.
        let opened = unsafe Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard opened >= 0 else {
            let error = Errno(rawValue: errno)
            switch error {
            case .noSuchFileOrDirectory, .notDirectory: throw .missing(path: path)
            case .noSuchAddressOrDevice: throw .wrongKind(path: path)
            default: throw NamespaceError("open the network namespace \(path)", error)
            }
        }
        let descriptor = OwnedDescriptor(opened)
        guard clinux_is_network_namespace(opened) == 1 else { throw .wrongKind(path: path) }
        return descriptor
    }

    /// What was a namespace and is none now has vanished.
    private func openAgain() throws(NamespaceError) -> OwnedDescriptor {
        do throws(NamespaceError) {
            return try Self.open(path)
        } catch {
            switch error {
            case .missing, .wrongKind: throw .vanished(path: path)
            default: throw error
            }
        }
    }

    private static func inside<Result>(
        _ descriptor: OwnedDescriptor, _ path: String, _ body: () -> Result
    ) throws(NamespaceError) -> Result {
        let ours = try currentDescriptor()
        let status = clinux_enter_network_namespace(descriptor.rawValue)
        if status < 0 {
            throw NamespaceError("enter the network namespace \(path)", Errno(rawValue: -status))
        }
        // Cannot fail: this thread was there a moment ago, and the descriptor keeps it alive.
        defer { _ = clinux_enter_network_namespace(ours.rawValue) }
        return body()
    }

    private static func currentDescriptor() throws(NamespaceError) -> OwnedDescriptor {
        let opened = unsafe Glibc.open(currentPath, O_RDONLY | O_CLOEXEC)
        if opened < 0 {
            throw NamespaceError(
                "open the calling thread's network namespace", Errno(rawValue: errno))
        }
        return OwnedDescriptor(opened)
    }

    /// Makes the folder of named namespaces, and mounts in it visible everywhere, as ip-netns(8)
    /// does: else a namespace could not be removed while an older process can see it.
    private static func prepareFolder() throws(NamespaceError) {
        let operation = "prepare \(folder)"
        if unsafe mkdir(folder, 0o755) != 0 && errno != EEXIST {
            throw NamespaceError(operation, Errno(rawValue: errno))
        }
        let opened = unsafe Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if opened < 0 { throw NamespaceError(operation, Errno(rawValue: errno)) }
        let descriptor = OwnedDescriptor(opened)
        // Who comes second finds it mounted, and does not mount it over.
        _ = flock(descriptor.rawValue, LOCK_EX)
        let status = unsafe clinux_share_mount(folder)
        if status < 0 { throw NamespaceError(operation, Errno(rawValue: -status)) }
    }

    private static func setLoopbackUp() -> Errno? {
        do throws(NetlinkError) {
            try RoutingNetlink().setLink(loopbackIndex, up: true)
            return nil
        } catch {
            return error.errno
        }
    }

    private static let currentPath = "/proc/thread-self/ns/net"
    private static let loopbackIndex: UInt32 = 1
}
