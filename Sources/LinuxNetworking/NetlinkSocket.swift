import CLinux
import CNetlink
import Glibc
import SystemPackage

/// A libmnl socket of NETLINK_ROUTE that asks and reads the answers.
@safe
final class NetlinkSocket {
    private let socket: OpaquePointer
    private let portIdentifier: UInt32
    private var sequence: UInt32 = 0

    init() throws(NetlinkError) {
        // mnl_socket_open2 would leave the descriptor to child processes without SOCK_CLOEXEC.
        guard let opened = unsafe mnl_socket_open2(NETLINK_ROUTE, Int32(CLINUX_SOCK_CLOEXEC))
        else {
            throw NetlinkError(operation: "open a netlink socket", errno: Errno(rawValue: errno))
        }
        unsafe socket = opened
        var on: Int32 = 1
        // Both make errors and dumps more exact; kernels before 4.12 and 4.20 do without.
        for option in [NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] {
            _ = unsafe mnl_socket_setsockopt(
                socket, option, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        let status = unsafe mnl_socket_bind(socket, 0, 0)
        portIdentifier = unsafe mnl_socket_get_portid(socket)
        if status < 0 {
            let error = Errno(rawValue: errno)
            throw NetlinkError(operation: "bind a netlink socket", errno: error)
        }
    }

    deinit {
        _ = unsafe mnl_socket_close(socket)
    }

    /// Sends a request and waits for its acknowledgement.
    func acknowledge(_ message: NetlinkMessage, _ operation: String) throws(NetlinkError) {
        unsafe message.header.pointee.nlmsg_flags |= UInt16(NLM_F_ACK)
        _ = try unsafe exchange(message, operation) { _ in }
    }

    /// Sends a dump request, or one that is answered by a message, and hands every message of the
    /// answer to `visit`. A dump that changes meanwhile is read again from the start.
    func request<Item>(
        _ message: NetlinkMessage, _ operation: String,
        _ convert: (UnsafePointer<nlmsghdr>) -> Item?
    ) throws(NetlinkError) -> [Item] {
        for _ in 0..<Self.attemptCountMax {
            var items: [Item] = []
            let isWhole = try unsafe exchange(message, operation) { part in
                if let item = unsafe convert(part) { items.append(item) }
            }
            if isWhole { return items }
        }
        throw NetlinkError(operation: operation, errno: .interrupted)
    }

    /// - Returns: `false` when the kernel said that the dump is inconsistent.
    private func exchange(
        _ message: NetlinkMessage, _ operation: String,
        _ visit: (UnsafePointer<nlmsghdr>) -> Void
    ) throws(NetlinkError) -> Bool {
        sequence &+= 1
        unsafe message.header.pointee.nlmsg_seq = sequence
        let sent = unsafe mnl_socket_sendto(
            socket, message.header, Int(message.header.pointee.nlmsg_len))
        if sent < 0 { throw NetlinkError(operation: operation, errno: Errno(rawValue: errno)) }
        let isDump = unsafe Int32(message.header.pointee.nlmsg_flags) & NLM_F_DUMP == NLM_F_DUMP
        let wantsAcknowledgement =
            unsafe Int32(message.header.pointee.nlmsg_flags) & NLM_F_ACK != 0
        var buffer = [UInt8](repeating: 0, count: Self.receiveByteCount)
        var isConsistent = true
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe mnl_socket_recvfrom(socket, $0.baseAddress, $0.count)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw NetlinkError(operation: operation, errno: Errno(rawValue: errno))
            }
            let outcome = unsafe buffer.withUnsafeBytes {
                unsafe read($0.baseAddress.unsafelyUnwrapped, count: Int(count), visit)
            }
            isConsistent = isConsistent && !outcome.wasInterrupted
            if let failure = outcome.failure {
                throw NetlinkError(
                    operation: operation, errno: failure.errno, explanation: failure.explanation)
            }
            if outcome.isDone || (!isDump && !wantsAcknowledgement && outcome.messageCount > 0) {
                return isConsistent
            }
        }
    }

    private struct Outcome {
        var isDone = false
        var wasInterrupted = false
        var messageCount = 0
        var failure: (errno: Errno, explanation: String?)?
    }

    /// Reads one received datagram.
    private func read(
        _ start: UnsafeRawPointer, count: Int, _ visit: (UnsafePointer<nlmsghdr>) -> Void
    ) -> Outcome {
        var outcome = Outcome()
        var rest = Int32(count)
        var next = unsafe start.assumingMemoryBound(to: nlmsghdr.self)
        while unsafe mnl_nlmsg_ok(next, rest) {
            let header = unsafe next.pointee
            if header.nlmsg_seq == sequence && header.nlmsg_pid == portIdentifier {
                outcome.wasInterrupted =
                    outcome.wasInterrupted || Int32(header.nlmsg_flags) & NLM_F_DUMP_INTR != 0
                switch Int32(header.nlmsg_type) {
                case NLMSG_ERROR:
                    outcome.isDone = true
                    outcome.failure = unsafe Self.failure(in: next)
                case NLMSG_DONE:
                    outcome.isDone = true
                    // A dump that fails on the way says so in its last message.
                    outcome.failure = unsafe Self.failure(in: next)
                default:
                    outcome.messageCount += 1
                    unsafe visit(next)
                }
            }
            guard let following = unsafe mnl_nlmsg_next(next, &rest) else { break }
            unsafe next = UnsafePointer(following)
        }
        return outcome
    }

    /// The error in an NLMSG_ERROR or NLMSG_DONE message; `nil` for an acknowledgement.
    ///
    /// Source: struct nlmsgerr and NLMSGERR_ATTR_MSG of linux/netlink.h.
    private static func failure(
        in message: UnsafePointer<nlmsghdr>
    ) -> (errno: Errno, explanation: String?)? {
        let payloadCount = unsafe Int(message.pointee.nlmsg_len) - NetlinkHeader.messageByteCount
        if payloadCount < MemoryLayout<Int32>.size { return nil }
        let payload = unsafe UnsafeRawPointer(message) + NetlinkHeader.messageByteCount
        let error = unsafe payload.load(as: Int32.self)
        if error >= 0 { return nil }
        let flags = unsafe Int32(message.pointee.nlmsg_flags)
        var explanation: String?
        if flags & NLM_F_ACK_TLVS != 0 {
            var offset = MemoryLayout<Int32>.size
            if unsafe Int32(message.pointee.nlmsg_type) == NLMSG_ERROR {
                // The refused request follows, whole unless the answer is capped.
                let requestCount =
                    payloadCount >= MemoryLayout<nlmsgerr>.size
                    ? Int(unsafe payload.load(as: nlmsgerr.self).msg.nlmsg_len) : 0
                offset =
                    flags & NLM_F_CAPPED != 0
                    ? MemoryLayout<nlmsgerr>.size : offset + requestCount
            }
            explanation = unsafe NetlinkAttributes(message, offset: offset).string(
                Int(NLMSGERR_ATTR_MSG.rawValue))
        }
        return (Errno(rawValue: -error), explanation)
    }

    /// The kernel's dumps come in parts of at most 32 KiB.
    private static let receiveByteCount = 65_536
    private static let attemptCountMax = 8
}
