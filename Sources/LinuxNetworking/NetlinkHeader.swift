import CNetlink
import Glibc
import PacketFormats

/// The fixed headers that rtnetlink messages begin with.
enum NetlinkHeader {
    /// Size of struct nlmsghdr (MNL_NLMSG_HDRLEN), in bytes.
    static let messageByteCount = 16

    /// Reads the header of a message, if the message has the type and is long enough.
    static func read<Header: BitwiseCopyable>(
        _ message: UnsafePointer<nlmsghdr>, _ type: Int
    ) -> Header? {
        let header = unsafe message.pointee
        guard Int(header.nlmsg_type) == type,
            Int(header.nlmsg_len) >= NetlinkHeader.messageByteCount + MemoryLayout<Header>.size
        else { return nil }
        let start = unsafe UnsafeRawPointer(message) + messageByteCount
        return unsafe start.load(as: Header.self)
    }
}

extension IPAddress {
    /// AF_INET or AF_INET6.
    var netlinkFamily: UInt8 { UInt8(isIPv4 ? AF_INET : AF_INET6) }
}
