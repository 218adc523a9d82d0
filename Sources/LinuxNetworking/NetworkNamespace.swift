import CLinux
import Glibc
public import SystemPackage

/// Moves the calling thread, and only it, between network namespaces.
///
/// Sockets and TUN devices belong to the namespace of the thread that opened them.
public enum NetworkNamespace {
    /// Enters the namespace that `ip netns add` made under this name. setns
    public static func enter(_ name: String) throws(Errno) {
        try enter(path: "/run/netns/" + name)
    }

    /// Enters the namespace that a file stands for, such as /proc/PID/ns/net. setns
    public static func enter(path: String) throws(Errno) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw Errno(rawValue: errno) }
        let status = clinux_enter_network_namespace(descriptor)
        _ = close(descriptor)
        if status < 0 { throw Errno(rawValue: -status) }
    }

    /// Enters a new namespace with nothing but a loopback device that is down; it goes away with
    /// the last thread and socket in it. unshare
    public static func enterNew() throws(Errno) {
        let status = clinux_unshare_network_namespace()
        if status < 0 { throw Errno(rawValue: -status) }
    }
}
