import CLinux
import CTestSupport
import Glibc
package import LinuxNetworking
package import SystemPackage

/// Moves the calling thread, and only it, between network namespaces.
///
/// Sockets and TUN devices belong to the namespace of the thread that opened them.
extension NetworkNamespace {
    /// Enters the namespace that a file stands for, such as /proc/PID/ns/net. setns
    package static func enter(path: String) throws(Errno) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw Errno(rawValue: errno) }
        let status = clinux_enter_network_namespace(descriptor)
        _ = close(descriptor)
        if status < 0 { throw Errno(rawValue: -status) }
    }

    /// Enters a new namespace with nothing but a loopback device that is down; it goes away with
    /// the last thread and socket in it. unshare
    package static func enterNew() throws(Errno) {
        if test_unshare_network_namespace() < 0 { throw Errno(rawValue: errno) }
    }
}

/// Whether a TUN device outlives its last descriptor. TUNSETPERSIST
package func setPersistent(_ isPersistent: Bool, tunDescriptor: Int32) throws(Errno) {
    if test_tun_set_persistent(tunDescriptor, isPersistent ? 1 : 0) < 0 {
        throw Errno(rawValue: errno)
    }
}
