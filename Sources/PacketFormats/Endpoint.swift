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
    /// - Parameter scope: Finds the index of the interface where its name is the scope, such as the
    ///   `eth0` of `fe80::1%eth0`.
    /// - Returns: `nil` for anything else, such as the name of a host. Port 0 is read, although
    ///   nothing can be sent there.
    public init?(_ text: String, scope: (String) -> UInt32? = { _ in nil }) {
        guard let parts = HostAndPort(text) else { return nil }
        guard parts.isBracketed else {
            guard let address = IPAddress(parts.host), address.isIPv4 else { return nil }
            self.init(address: address, port: parts.port)
            return
        }
        let words = parts.host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(words[0])), !address.isIPv4 else { return nil }
        guard words.count == 2 else {
            self.init(address: address, port: parts.port)
            return
        }
        let name = String(words[1])
        guard let index: UInt32 = NumberText.decimal(name) ?? (name.isEmpty ? nil : scope(name))
        else { return nil }
        self.init(address: address, port: parts.port, scope: index)
    }

    public var description: String {
        if address.isIPv4 { return "\(address):\(port)" }
        return scope == 0 ? "[\(address)]:\(port)" : "[\(address)%\(scope)]:\(port)"
    }
}

/// `host:port` or `[host]:port`, before it is known what the host is.
public struct HostAndPort {
    /// Without brackets; not empty.
    public let host: String
    public let port: UInt16
    public let isBracketed: Bool

    /// - Returns: `nil` without a port, and for a colon in a host without brackets.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let port: UInt16 = NumberText.decimal(text[text.index(after: colon)...])
        else { return nil }
        self.port = port
        let host = text[..<colon]
        isBracketed = host.hasPrefix("[")
        if isBracketed {
            guard host.hasSuffix("]"), host.count > 2 else { return nil }
            self.host = String(host.dropFirst().dropLast())
        } else {
            if host.isEmpty || host.contains(":") { return nil }
            self.host = String(host)
        }
    }
}
