public import PacketFormats

/// Where a peer is reached, as a configuration file names it.
public enum HostEndpoint: Hashable, Sendable, CustomStringConvertible {
    case address(Endpoint)
    /// A host name, or an address whose scope is an interface's name: to be looked up when used.
    case name(String, port: UInt16)

    /// Reads `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    ///
    /// - Returns: `nil` for anything else, for port 0 and for what cannot be a host name.
    public init?(_ text: String) {
        guard let parts = HostAndPort(text), parts.port != 0 else { return nil }
        if let endpoint = Endpoint(text) {
            self = .address(endpoint)
            return
        }
        guard parts.isBracketed ? isScopedAddress(parts.host) : isHostName(parts.host)
        else { return nil }
        self = .name(parts.host, port: parts.port)
    }

    public var description: String {
        switch self {
        case .address(let endpoint): endpoint.description
        case .name(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}

/// Whether the text is an IPv6 address with an interface's name behind it.
private func isScopedAddress(_ host: String) -> Bool {
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(String(parts[0])) else { return false }
    return !address.isIPv4 && InterfaceName.fault(in: String(parts[1])) == nil
}

/// Whether the text can be a host name (RFC 1123, and underscores as they occur in practice).
///
/// Names whose last part is a number are refused: they are mistyped IPv4 addresses.
private func isHostName(_ host: String) -> Bool {
    guard host.utf8.count <= 253 else { return false }
    var labels = host.split(separator: ".", omittingEmptySubsequences: false)
    if labels.count > 1, labels.last?.isEmpty == true { labels.removeLast() }
    guard let last = labels.last, !last.utf8.allSatisfy(isDigit) else { return false }
    return labels.allSatisfy { label in
        !label.isEmpty && label.utf8.count <= 63
            && label.first != "-" && label.last != "-"
            && label.utf8.allSatisfy { isLetter($0) || isDigit($0) || "-_".utf8.contains($0) }
    }
}

private func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
}

private func isLetter(_ byte: UInt8) -> Bool {
    let lowered = byte | 0x20
    return lowered >= UInt8(ascii: "a") && lowered <= UInt8(ascii: "z")
}
