import CLinux
import Glibc
public import PacketFormats

/// What the kernel knows of the way to an endpoint.
public enum RouteMTU {
    /// Asks which way the kernel would send to the endpoint. Nothing is sent.
    ///
    /// - Returns: The largest packet that goes there in one piece, in bytes; `nil` without a route.
    ///   connect; IP_MTU in ip(7), IPV6_MTU in ipv6(7)
    public static func of(_ endpoint: Endpoint) -> Int? {
        let isIPv4 = endpoint.address.isIPv4
        let family = SocketFamily(of: endpoint.address)
        guard let socket = try? UDPSocketSetup.open(family),
            (try? socket.connect(to: endpoint, family: family)) != nil
        else { return nil }
        let mtu = try? socket.option(
            Int32(isIPv4 ? IPPROTO_IP : IPPROTO_IPV6), isIPv4 ? IP_MTU : IPV6_MTU)
        return mtu.flatMap { $0 > 0 ? Int($0) : nil }
    }
}
