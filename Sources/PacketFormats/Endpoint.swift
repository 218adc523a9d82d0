/// Where a peer's datagrams come from and go to: an address and a UDP port.
public struct Endpoint: Hashable, Sendable {
    public let address: IPAddress
    public let port: UInt16
    /// Interface index of an IPv6 link-local address; 0 where none is needed.
    public let scope: UInt32

    @inlinable
    public init(address: IPAddress, port: UInt16, scope: UInt32 = 0) {
        self.address = address
        self.port = port
        self.scope = scope
    }
}

extension Endpoint: CustomStringConvertible {
    /// Reads `1.2.3.4:51820`, `[2001:db8::1]:51820` or `[fe80::1%3]:51820`.
    ///
    /// The scope is an interface index. Names of hosts and interfaces and port 0 are refused.
    public init?(_ text: String) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")),
            let port = DecimalText.value(text[text.index(after: colon)...], atMost: 65_535),
            port > 0
        else { return nil }
        var host = text[..<colon]
        guard host.utf8.first == UInt8(ascii: "[") else {
            guard let address = IPAddress(String(host)), address.isIPv4 else { return nil }
            self.init(address: address, port: UInt16(port))
            return
        }
        guard host.utf8.last == UInt8(ascii: "]"), host.utf8.count > 2 else { return nil }
        host = host.dropFirst().dropLast()
        var scope = 0
        if let percent = host.utf8.firstIndex(of: UInt8(ascii: "%")) {
            let digits = host[host.index(after: percent)...]
            guard let index = DecimalText.value(digits, atMost: Int(UInt32.max)), index > 0
            else { return nil }
            scope = index
            host = host[..<percent]
        }
        guard let address = IPAddress(String(host)), !address.isIPv4 else { return nil }
        self.init(address: address, port: UInt16(port), scope: UInt32(scope))
    }

    public var description: String {
        if address.isIPv4 { return "\(address):\(port)" }
        return scope == 0 ? "[\(address)]:\(port)" : "[\(address)%\(scope)]:\(port)"
    }
}
