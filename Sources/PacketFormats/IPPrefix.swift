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
        guard let address = IPAddress(String(text[..<slash])),
            let length = DecimalText.value(text[text.index(after: slash)...], atMost: 128)
        else { return nil }
        self.init(address, length: length)
    }

    public func contains(_ other: IPAddress) -> Bool {
        guard other.isIPv4 == address.isIPv4 else { return false }
        return IPPrefix(other, length: length)?.address == address
    }

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

/// Decimal numbers as configuration text writes them.
enum DecimalText {
    /// - Returns: `nil` unless `text` is ASCII digits only, without leading zeros, and in range.
    static func value(_ text: Substring, atMost limit: Int) -> Int? {
        let digits = text.utf8
        guard !digits.isEmpty, digits.count <= 10,
            digits.count == 1 || digits.first != UInt8(ascii: "0")
        else { return nil }
        var value = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value <= limit ? value : nil
    }
}
