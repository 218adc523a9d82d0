public import PacketFormats

/// A network that a tenant's nodes get their addresses from.
public struct AddressPool: Hashable, Sendable {
    public let prefix: IPPrefix
    /// The first address that a node may have, and the last one.
    public let first: IPAddress
    public let last: IPAddress

    /// - Returns: `nil` for networks that are no unicast addresses of sites or of the Internet, and
    ///   for those wider than /8 (IPv4) or /16 (IPv6).
    public init?(_ prefix: IPPrefix) {
        let isIPv4 = prefix.address.isIPv4
        guard prefix.length >= (isIPv4 ? Self.ipv4LengthMin : Self.ipv6LengthMin),
            !Self.reserved.contains(where: {
                $0.contains(prefix.address) || prefix.contains($0.address)
            })
        else { return nil }
        self.prefix = prefix
        // Short of links between two routers, the first address is the network's own (RFC 4291,
        // section 2.6.1: every router's), and in IPv4 the last one is everybody's.
        let hostBits = prefix.address.bitCount - prefix.length
        let end = prefix.address.filling(hostBits: hostBits)
        first = hostBits > 1 ? prefix.address.successor : prefix.address
        last = hostBits > 1 && isIPv4 ? IPAddress(ipv4: end.ipv4 - 1) : end
    }

    /// How many nodes it can hold; at most 2^53 - 1.
    public var capacity: Int64 {
        let hostBits = prefix.address.bitCount - prefix.length
        guard hostBits < 53 else { return TrustLimits.integerMax }
        let count = Int64(1) << Int64(hostBits)
        return hostBits < 2 ? count : count - (prefix.address.isIPv4 ? 2 : 1)
    }

    /// Whether a node may have `address` out of this pool.
    public func holds(_ address: IPAddress) -> Bool {
        prefix.contains(address) && address >= first && address <= last
    }

    public func overlaps(_ other: AddressPool) -> Bool {
        prefix.contains(other.prefix.address) || other.prefix.contains(prefix.address)
    }

    private static var ipv4LengthMin: Int { 8 }
    private static var ipv6LengthMin: Int { 16 }

    /// This network, loopback, link-local, multicast, reserved; the same for IPv6, and the IPv6
    /// texts of IPv4. RFC 6890; RFC 4291.
    private static let reserved: [IPPrefix] = [
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/16", "fe80::/10",
        "ff00::/8",
    ].compactMap { IPPrefix($0) }
}

extension IPAddress {
    /// The next address; after the last comes the first.
    public var successor: IPAddress {
        if isIPv4 { return IPAddress(ipv4: ipv4 &+ 1) }
        return IPAddress(high: low == .max ? high &+ 1 : high, low: low &+ 1)
    }

    /// A text whose order is that of addresses: `4` or `6`, then all digits in hexadecimal.
    public var sortKey: String {
        let digits = isIPv4 ? Self.hex(low, 8) : Self.hex(high, 16) + Self.hex(low, 16)
        return (isIPv4 ? "4" : "6") + digits
    }

    /// Reads what ``sortKey`` writes.
    public init?(sortKey text: String) {
        let digits = text.dropFirst()
        guard digits.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }) else {
            return nil
        }
        switch (text.first, digits.utf8.count) {
        case ("4", 8):
            guard let number = UInt32(digits, radix: 16) else { return nil }
            self.init(ipv4: number)
        case ("6", 32):
            guard let high = UInt64(digits.prefix(16), radix: 16),
                let low = UInt64(digits.suffix(16), radix: 16)
            else { return nil }
            self.init(high: high, low: low)
        default: return nil
        }
    }

    /// With this many of the last bits set.
    fileprivate func filling(hostBits: Int) -> IPAddress {
        if isIPv4 {
            let mask = hostBits == 0 ? 0 : UInt32.max >> UInt32(32 - hostBits)
            return IPAddress(ipv4: ipv4 | mask)
        }
        let lowMask = hostBits >= 64 ? UInt64.max : hostBits == 0 ? 0 : .max >> (64 - hostBits)
        let highBits = max(hostBits - 64, 0)
        let highMask = highBits == 0 ? 0 : UInt64.max >> UInt64(64 - highBits)
        return IPAddress(high: high | highMask, low: low | lowMask)
    }

    private static func hex(_ number: UInt64, _ width: Int) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: width - digits.utf8.count) + digits
    }
}

extension IPPrefix {
    /// One address alone.
    public init(host: IPAddress) {
        // A length that its own family has.
        guard let prefix = IPPrefix(host, length: host.bitCount) else {
            preconditionFailure("no prefix of full length")
        }
        self = prefix
    }

    public var isHost: Bool { length == address.bitCount }
}
