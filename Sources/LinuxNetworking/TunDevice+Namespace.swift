import CLinux
import Glibc
import SystemPackage

/// A TUN device may be moved to another network namespace while its owner, and the owner's UDP
/// sockets, stay behind.
extension TunDevice {
    /// Whether the interface still exists, in whichever namespace.
    public var isAttached: Bool {
        guard let queue = queues.first else { return false }
        let namespace = clinux_tun_network_namespace(queue.fileDescriptor)
        if namespace >= 0 { _ = Glibc.close(namespace) }
        // Any other answer (no such request, no privilege) is of a device that is there.
        return namespace != -EBADFD
    }

    /// Whether the interface is in the network namespace of the calling thread; also where the
    /// kernel does not tell.
    public var isInOurNamespace: Bool {
        guard let queue = queues.first else { return false }
        let theirs = clinux_tun_network_namespace(queue.fileDescriptor)
        guard theirs >= 0 else { return theirs != -EBADFD }
        defer { _ = Glibc.close(theirs) }
        var ours = stat(), other = stat()
        guard unsafe stat("/proc/thread-self/ns/net", &ours) == 0,
            unsafe fstat(theirs, &other) == 0
        else { return true }
        return ours.st_ino == other.st_ino && ours.st_dev == other.st_dev
    }

    /// Runs `body` with the calling thread in the namespace that the interface is in; sockets that
    /// it opens stay there.
    ///
    /// - Throws: EBADFD when the interface is gone; EPERM without CAP_SYS_ADMIN. setns
    public func inItsNamespace<Result>(_ body: () throws -> Result) throws -> Result {
        guard let queue = queues.first else { throw Errno.badFileDescriptor }
        return try Self.inNamespace(ofQueue: queue.fileDescriptor, body)
    }

    /// As ``inItsNamespace(_:)``, for a queue that no device has yet.
    static func inNamespace<Result>(
        ofQueue fileDescriptor: Int32, _ body: () throws -> Result
    ) throws -> Result {
        let theirs = clinux_tun_network_namespace(fileDescriptor)
        guard theirs >= 0 else { throw Errno(rawValue: -theirs) }
        defer { _ = Glibc.close(theirs) }
        let ours = unsafe open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        guard ours >= 0 else { throw Errno(rawValue: errno) }
        defer { _ = Glibc.close(ours) }
        let status = clinux_enter_network_namespace(theirs)
        guard status >= 0 else { throw Errno(rawValue: -status) }
        // Cannot fail: this thread was there a moment ago, and the descriptor keeps it alive.
        defer { _ = clinux_enter_network_namespace(ours) }
        return try body()
    }

    /// Makes a device here, under a name that the kernel chooses, and moves it.
    ///
    /// A descriptor that is opened inside would keep the namespace alive after its removal; one
    /// that is opened here serves the device all the same and tells of its end.
    static func create(
        _ name: String, in namespace: NetworkNamespace, queueCount: Int, wanted: TunOffloads
    ) throws(TunError) -> TunDevice {
        let made = try make(passingName, queueCount: queueCount, wanted: wanted)
        do {
            try RoutingNetlink().moveLink(
                made.interfaceIndex, to: namespace.descriptor(), name: name)
            let index = try namespace.perform { try RoutingNetlink().linkByName(name).index }
            return TunDevice(made, name: name, interfaceIndex: index)
        } catch {
            made.close()
            switch error {
            case let error as NamespaceError: throw .namespace(error)
            case let error as NetlinkError where error.errno == .fileExists: throw .nameInUse(name)
            case let error as NetlinkError:
                throw .failed(operation: "moving \(name) to \(namespace)", error.errno)
            default: throw .failed(operation: "moving \(name) to \(namespace)", .ioError)
            }
        }
    }

    /// What a device is called until it is where it belongs.
    private static let passingName = "branchline%d"
}
