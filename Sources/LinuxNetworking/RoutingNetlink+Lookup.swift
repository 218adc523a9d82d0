import CNetlink
import Glibc
public import PacketFormats
import SystemPackage

/// What the kernel would do with a packet of this machine.
public struct RouteDecision: Hashable, Sendable {
    /// Index of the interface that it would leave by; `nil` where it would not leave.
    public var device: UInt32?
    /// Whether the address is this machine's own.
    public var isLocal: Bool
}

extension RoutingNetlink {
    /// Asks where packets to an address go, by all tables and rules. Nothing is sent.
    ///
    /// - Throws: ENETUNREACH, EHOSTUNREACH and so on where they go nowhere. RTM_GETROUTE
    public func decision(for address: IPAddress) throws(NetlinkError) -> RouteDecision {
        let message = NetlinkMessage(type: RTM_GETROUTE, flags: 0)
        var header = rtmsg()
        header.rtm_family = address.netlinkFamily
        header.rtm_dst_len = UInt8(clamping: address.bitCount)
        message.put(header: header)
        message.put(Int(RTA_DST.rawValue), address)
        let operation = "look up the route to \(address)"
        let decisions = try unsafe socket.request(message, operation) { part in
            unsafe Self.decision(part)
        }
        guard let decision = decisions.first else {
            throw NetlinkError(operation: operation, errno: .networkUnreachable)
        }
        return decision
    }

    private static func decision(_ message: UnsafePointer<nlmsghdr>) -> RouteDecision? {
        guard let header: rtmsg = unsafe NetlinkHeader.read(message, RTM_NEWROUTE) else {
            return nil
        }
        let attributes = unsafe NetlinkAttributes(message, offset: MemoryLayout<rtmsg>.size)
        return RouteDecision(
            device: attributes.uint32(Int(RTA_OIF.rawValue)),
            isLocal: Int32(header.rtm_type) == Int32(RTN_LOCAL))
    }
}
