import Glibc
import PacketFormats

/// A socket address as the kernel reads and writes it: sockaddr_in6 or sockaddr_in in 32 bytes.
///
/// The words hold memory, so that comparing, storing and loading are four word operations. Bytes
/// that the kernel does not write stay zero.
@frozen
@usableFromInline
struct SocketName: Hashable, Sendable {
    /// Family in host order, port in network order, then flow information or the IPv4 address.
    @usableFromInline var head: UInt64
    /// First half of the IPv6 address.
    @usableFromInline var first: UInt64
    @usableFromInline var second: UInt64
    /// Scope of a link-local IPv6 address.
    @usableFromInline var tail: UInt64

    /// - Returns: `nil` for an IPv6 endpoint on an IPv4 socket.
    init?(_ endpoint: Endpoint, family: SocketFamily) {
        let port = UInt64(endpoint.port.bigEndian) << 16
        switch family {
        case .dualStack:
            head = UInt64(AF_INET6) | port
            (first, second) = AddressWords.mapped(endpoint.address)
            tail = UInt64(endpoint.scope)
        case .ipv4:
            let address = endpoint.address.unmapped
            guard address.isIPv4 else { return nil }
            head = UInt64(AF_INET) | port | UInt64(address.ipv4.bigEndian) << 32
            (first, second, tail) = (0, 0, 0)
        }
    }

    /// All addresses of the machine: port `port` of :: or 0.0.0.0.
    init(anyAddressOf family: SocketFamily, port: UInt16) {
        let familyNumber = family == .dualStack ? AF_INET6 : AF_INET
        head = UInt64(familyNumber) | UInt64(port.bigEndian) << 16
        (first, second, tail) = (0, 0, 0)
    }

    var endpoint: Endpoint {
        let port = UInt16(bigEndian: UInt16(truncatingIfNeeded: head >> 16))
        if !isIPv6Socket {
            let address = UInt32(bigEndian: UInt32(truncatingIfNeeded: head >> 32))
            return Endpoint(address: IPAddress(ipv4: address), port: port, scope: 0)
        }
        return Endpoint(
            address: AddressWords.address(first, second), port: port,
            scope: UInt32(truncatingIfNeeded: tail))
    }

    /// Length as bind and sendmsg want it, in bytes.
    var count: Int {
        isIPv6Socket ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size
    }

    /// Whether datagrams to this name travel over IPv4.
    var isIPv4: Bool {
        !isIPv6Socket || AddressWords.isMapped(first, second)
    }

    private var isIPv6Socket: Bool { head & 0xffff == UInt64(AF_INET6) }
}

/// What a UDP socket can reach.
public enum SocketFamily: Sendable {
    /// AF_INET6 with IPV6_V6ONLY off: both, IPv4 as mapped addresses.
    case dualStack
    /// AF_INET, where the kernel has no IPv6.
    case ipv4
}
