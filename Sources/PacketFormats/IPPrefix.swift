/// A network: an address whose host bits are zero, and how many leading bits count.
public struct IPPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// Leading bits that matter: 0...32 for IPv4, 0...128 for IPv6.
    public let length: Int

    /// The network that contains `address`.
    /// - Returns: `nil` for a length that the address family does not have.
    public init?(_ address: IPAddress, length: Int) {
        guard length >= 0, length <= address.bitCount else { return nil }
        if address.isIPv4 {
            let mask = length == 0 ? 0 : UInt32.max << UInt32(32 - length)
            self.address = IPAddress(ipv4: address.ipv4 & mask)
        } else {
            let mask = Self.mask(length)
            self.address = IPAddress(high: address.high & mask.high, low: address.low & mask.low)
        }
        self.length = length
    }

    /// Reads `10.0.0.0/8`, or an address alone, which means all of its bits.
    ///
    /// Host bits may be set; they are cleared, as `wg set … allowed-ips` does.
    public init?(_ text: String) {
        guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")) else {
            guard let address = IPAddress(text) else { return nil }
            self.init(address, length: address.bitCount)
            return
        }
        let digits = text[text.index(after: slash)...]
        guard let address = IPAddress(String(text[..<slash])),
            // Leading zeros are refused, as wireguard-go does: elsewhere they mean octal.
            digits.utf8.count == 1 || digits.utf8.first != UInt8(ascii: "0"),
            let length: Int = NumberText.decimal(digits)
        else { return nil }
        self.init(address, length: length)
    }

    public func contains(_ other: IPAddress) -> Bool {
        guard other.isIPv4 == address.isIPv4 else { return false }
        return IPPrefix(other, length: length)?.address == address
    }

    /// Whether all of `other` lies in this network.
    public func holds(_ other: IPPrefix) -> Bool {
        length <= other.length && contains(other.address)
    }

    /// Whether the two share an address: one of them then holds the other.
    public func overlaps(_ other: IPPrefix) -> Bool { holds(other) || other.holds(self) }

    private static func mask(_ length: Int) -> (high: UInt64, low: UInt64) {
        (
            length == 0 ? 0 : UInt64.max << UInt64(max(64 - length, 0)),
            length <= 64 ? 0 : UInt64.max << UInt64(128 - length)
        )
    }
}

extension IPPrefix: CustomStringConvertible {
    /// `10.0.0.0/8`; the length is always written, as `wg show` does.
    public var description: String { "\(address)/\(length)" }
}

extension IPPrefix: Comparable {
    public static func < (left: IPPrefix, right: IPPrefix) -> Bool {
        left.address != right.address
            ? left.address < right.address : left.length < right.length
    }
}
