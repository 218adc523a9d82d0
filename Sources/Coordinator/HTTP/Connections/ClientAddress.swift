import NIOCore
import PacketFormats

/// Whom limits count: an IPv4 address, or the /64 network of an IPv6 address.
///
/// One host has a whole /64 to send from. Source: RFC 4291, section 2.5.1.
struct ClientAddress: Hashable, Sendable, CustomStringConvertible {
    /// Clients without an address count as one.
    private let network: IPAddress?
    let isLoopback: Bool

    init(_ address: SocketAddress?) {
        self.init(address?.ipAddress ?? "")
    }

    init(_ text: String) {
        let plain = text.split(separator: "%").first.map(String.init) ?? ""
        guard let address = IPAddress(plain)?.unmapped else {
            network = nil
            isLoopback = false
            return
        }
        network = address.isIPv4 ? address : IPAddress(high: address.high, low: 0)
        isLoopback = address.isIPv4
            ? address.ipv4 >> 24 == 127 : address.high == 0 && address.low == 1
    }

    var description: String {
        guard let network else { return "unknown" }
        return network.isIPv4 ? "\(network)" : "\(network)/64"
    }
}
