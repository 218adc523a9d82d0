public import PacketFormats

/// Finds the largest packet that fits into one datagram on the way to the peers.
public enum TunnelMTU {
    /// - Parameter endpoints: Addresses of the peers that have one.
    /// - Returns: The largest MTU of the routes to the endpoints, else that of the default route,
    ///   less what encryption and outer headers add; in bytes.
    public static func choose(_ endpoints: [Endpoint], _ netlink: RoutingNetlink) -> Int {
        let outer = endpoints.compactMap(RouteMTU.of).max() ?? defaultRouteMTU(netlink) ?? 1500
        return max(outer - overheadMax, minimum)
    }

    private static func defaultRouteMTU(_ netlink: RoutingNetlink) -> Int? {
        let routes = (try? netlink.routes())?.filter { $0.destination.length == 0 } ?? []
        return routes.compactMap(\.device).compactMap { try? netlink.link($0).mtu }.max()
    }

    /// The smallest MTU of a link with IPv6 (RFC 8200, section 5), in bytes.
    public static var minimumOfIPv6: Int { IPPacket.ipv6MTUMin }
    /// IPv6 header 40, UDP header 8, WireGuard header 16 and tag 16, in bytes.
    private static let overheadMax = 80
    /// The smallest MTU of IPv4 (RFC 791), in bytes.
    private static let minimum = 68
}
