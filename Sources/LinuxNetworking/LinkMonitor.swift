import CLinux
import CNetlink
import Glibc
import SystemPackage

/// Tells of changes to the network interfaces of the namespace that it was opened in.
///
/// Nonblocking; one thread uses an instance. Source: rtnetlink(7), RTNLGRP_LINK.
@safe
public final class LinkMonitor {
    public enum Event: Hashable, Sendable {
        /// Added, or changed in any way.
        case changed(LinkState)
        case removed(index: UInt32)
        /// Events were lost: read the state of the links that matter again.
        case overflowed
    }

    private let socket: OpaquePointer
    private var buffer = [UInt8](repeating: 0, count: 65_536)
    private var pending: [Event] = []
    private var pendingIndex = 0

    public var fileDescriptor: Int32 { unsafe mnl_socket_get_fd(socket) }

    public init() throws(NetlinkError) {
        let flags = Int32(CLINUX_SOCK_CLOEXEC | CLINUX_SOCK_NONBLOCK)
        guard let opened = unsafe mnl_socket_open2(NETLINK_ROUTE, flags) else {
            throw NetlinkError(operation: "open a netlink socket", errno: Errno(rawValue: errno))
        }
        unsafe socket = opened
        if unsafe mnl_socket_bind(socket, UInt32(RTMGRP_LINK), 0) < 0 {
            let error = Errno(rawValue: errno)
            throw NetlinkError(operation: "listen to link events", errno: error)
        }
    }

    deinit {
        _ = unsafe mnl_socket_close(socket)
    }

    /// The next event, without waiting.
    /// - Returns: `nil` when there is none. recvfrom
    public func next() -> Event? {
        while pendingIndex == pending.count {
            pending.removeAll(keepingCapacity: true)
            pendingIndex = 0
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe mnl_socket_recvfrom(socket, $0.baseAddress, $0.count)
            }
            if count > 0 {
                collect(Int(count))
            } else if count == 0 || errno == EAGAIN {
                return nil
            } else if errno != EINTR {
                // ENOBUFS: the kernel had more events than the socket holds. ENOSPC: one did not
                // fit the buffer. Whatever else it may be, something may have been missed.
                return .overflowed
            }
        }
        defer { pendingIndex += 1 }
        return pending[pendingIndex]
    }

    private func collect(_ count: Int) {
        unsafe buffer.withUnsafeBytes { bytes in
            var rest = Int32(count)
            var next = unsafe bytes.baseAddress.unsafelyUnwrapped
                .assumingMemoryBound(to: nlmsghdr.self)
            while unsafe mnl_nlmsg_ok(next, rest) {
                if let link = unsafe LinkState(next, type: RTM_NEWLINK) {
                    pending.append(.changed(link))
                } else if let link = unsafe LinkState(next, type: RTM_DELLINK) {
                    pending.append(.removed(index: link.index))
                }
                guard let following = unsafe mnl_nlmsg_next(next, &rest) else { break }
                unsafe next = UnsafePointer(following)
            }
        }
    }
}
