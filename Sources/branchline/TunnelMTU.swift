import Glibc
import LinuxNetworking
import PacketFormats
import WireGuardConfiguration

/// Finds the largest packet that fits into one datagram on the way to the peers.
enum TunnelMTU {
    /// - Parameter endpoints: Addresses of the peers that have one.
    /// - Returns: The largest MTU of the routes to the endpoints, else that of the default route,
    ///   less what encryption and outer headers add; in bytes.
    static func choose(_ endpoints: [Endpoint], _ netlink: RoutingNetlink) -> Int {
        let outer = endpoints.compactMap(routeMTU).max() ?? defaultRouteMTU(netlink) ?? 1500
        return max(outer - overheadMax, minimum)
    }

    /// Asks the kernel which way it would send to the endpoint. Nothing is sent.
    ///
    /// connect(2); IP_MTU in ip(7), IPV6_MTU in ipv6(7).
    private static func routeMTU(_ endpoint: Endpoint) -> Int? {
        let isIPv4 = endpoint.address.isIPv4
        let descriptor = socket(
            isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let isConnected = isIPv4 ? connect4(descriptor, endpoint) : connect6(descriptor, endpoint)
        guard isConnected else { return nil }
        var mtu: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        let status = unsafe getsockopt(
            descriptor, Int32(isIPv4 ? IPPROTO_IP : IPPROTO_IPV6), isIPv4 ? IP_MTU : IPV6_MTU, &mtu,
            &size)
        return status == 0 && mtu > 0 ? Int(mtu) : nil
    }

    private static func connect4(_ descriptor: Int32, _ endpoint: Endpoint) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = endpoint.port.bigEndian
        address.sin_addr.s_addr = endpoint.address.ipv4.bigEndian
        return unsafe connect(descriptor, to: &address)
    }

    private static func connect6(_ descriptor: Int32, _ endpoint: Endpoint) -> Bool {
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = endpoint.port.bigEndian
        address.sin6_scope_id = endpoint.scope
        unsafe withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
            unsafe bytes.storeBytes(of: endpoint.address.high.bigEndian, as: UInt64.self)
            unsafe bytes.storeBytes(
                of: endpoint.address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return unsafe connect(descriptor, to: &address)
    }

    /// - Parameter address: A socket address structure of one of the families.
    @unsafe
    private static func connect<Address>(_ descriptor: Int32, to address: inout Address) -> Bool {
        let size = socklen_t(MemoryLayout<Address>.size)
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, size) == 0
            }
        }
    }

    private static func defaultRouteMTU(_ netlink: RoutingNetlink) -> Int? {
        let routes = (try? netlink.routes())?.filter { $0.destination.length == 0 } ?? []
        return routes.compactMap(\.device).compactMap { try? netlink.link($0).mtu }.max()
    }

    /// IPv6 header 40, UDP header 8, WireGuard header 16 and tag 16, in bytes.
    private static let overheadMax = 80
    /// The smallest MTU of IPv4 (RFC 791), in bytes.
    private static let minimum = 68
}
