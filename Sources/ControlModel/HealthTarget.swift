public import PacketFormats

/// What is asked through a gateway to learn whether the way through it works.
///
/// Its text is `icmp:ADDRESS` or `tcp:ADDRESS:PORT`, with brackets around an IPv6 address before a
/// port.
public struct HealthTarget: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// Answers to an echo request.
        case icmp
        /// Takes connections at this port.
        case tcp(port: UInt16)
    }

    public let address: IPAddress
    public let kind: Kind

    public init(_ address: IPAddress, _ kind: Kind) {
        self.address = address
        self.kind = kind
    }
}

extension HealthTarget: LosslessStringConvertible {
    /// - Returns: `nil` for anything else, and for what is no address of a single host.
    public init?(_ text: String) {
        guard text.utf8.count <= Self.textBytesMax, let colon = text.firstIndex(of: ":")
        else { return nil }
        let rest = String(text[text.index(after: colon)...])
        switch text[..<colon] {
        case "icmp":
            guard let address = IPAddress(rest) else { return nil }
            self.init(address, .icmp)
        case "tcp":
            guard let endpoint = Endpoint(rest), endpoint.port > 0, endpoint.scope == 0
            else { return nil }
            self.init(endpoint.address, .tcp(port: endpoint.port))
        default: return nil
        }
        guard Self.isHost(address) else { return nil }
    }

    public var description: String {
        switch kind {
        case .icmp: "icmp:\(address)"
        case .tcp(let port): "tcp:\(Endpoint(address: address, port: port))"
        }
    }

    /// Neither unspecified, loopback, multicast, link-local nor broadcast.
    private static func isHost(_ address: IPAddress) -> Bool {
        if address.isIPv4 {
            let first = address.ipv4 >> 24
            return first != 0 && first != 127 && first < 224 && address.ipv4 >> 16 != 0xa9fe
        }
        return !(address.high == 0 && address.low <= 1) && address.high >> 56 != 0xff
            && !address.isLinkLocal
    }

    /// Of the longest text, with the longest IPv6 address and port.
    public static let textBytesMax = 64
}
