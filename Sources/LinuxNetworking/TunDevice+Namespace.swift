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

    /// Runs `body` with the calling thread in the namespace that the interface is in; sockets that
    /// it opens stay there.
    ///
    /// - Throws: EBADFD when the interface is gone; EPERM without CAP_SYS_ADMIN. setns
    public func inItsNamespace<Result>(_ body: () throws -> Result) throws -> Result {
        guard let queue = queues.first else { throw Errno.badFileDescriptor }
        let theirs = clinux_tun_network_namespace(queue.fileDescriptor)
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
}
