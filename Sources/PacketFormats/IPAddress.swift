import Glibc

/// An IPv4 or IPv6 address, 128 bits of value and the family.
///
/// An IPv4 address and the IPv6 address with the same number are different.
public struct IPAddress: Hashable, Sendable {
    /// The first eight bytes of an IPv6 address as a number; zero for IPv4.
    public let high: UInt64
    /// The last eight bytes of an IPv6 address as a number, or the 32 bits of an IPv4 address.
    public let low: UInt64
    public let isIPv4: Bool

    /// - Parameter ipv4: The address as a number: 10.0.0.1 is `0x0a000001`.
    @inlinable
    public init(ipv4: UInt32) {
        high = 0
        low = UInt64(ipv4)
        isIPv4 = true
    }

    /// The IPv6 address with these halves.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
        isIPv4 = false
    }

    /// The address as a number; meaningful for IPv4 only.
    @inlinable public var ipv4: UInt32 { UInt32(truncatingIfNeeded: low) }

    /// How many bits an address of this family has: 32 or 128.
    @inlinable public var bitCount: Int { isIPv4 ? 32 : 128 }

    /// The IPv4 address inside `::ffff:0:0/96`, as dual-stack sockets report it; otherwise `self`.
    ///
    /// Source: RFC 4291, section 2.5.5.2.
    @inlinable public var unmapped: IPAddress {
        !isIPv4 && high == 0 && low >> 32 == 0xffff
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) : self
    }

    @inlinable public var isUnspecified: Bool { high == 0 && low == 0 }

    /// Whether it lies in fe80::/10, whose addresses mean something on one interface only.
    ///
    /// Source: RFC 4291, section 2.4.
    @inlinable public var isLinkLocal: Bool { !isIPv4 && high >> 54 == 0xfe80 >> 6 }
}

extension IPAddress: Comparable {
    /// IPv4 sorts before IPv6, then by number.
    @inlinable
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        if left.isIPv4 != right.isIPv4 { return left.isIPv4 }
        return left.high != right.high ? left.high < right.high : left.low < right.low
    }
}

extension IPAddress: CustomStringConvertible {
    /// Reads dotted decimal or IPv6 text, without prefix length, port, brackets or scope.
    ///
    /// inet_pton(3)
    public init?(_ text: String) {
        // A NUL would end the text early for C and let what follows it pass unread.
        guard text.utf8.count < Self.textBytesMax, !text.utf8.contains(0) else { return nil }
        if text.utf8.contains(UInt8(ascii: ":")) {
            var parsed = in6_addr()
            guard unsafe inet_pton(AF_INET6, text, &parsed) == 1 else { return nil }
            // Invariant: in6_addr is 16 bytes of network order and has no padding.
            let halves = unsafe withUnsafeBytes(of: parsed) { bytes in
                unsafe (
                    UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
                    UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            self.init(high: halves.0, low: halves.1)
        } else {
            var parsed = in_addr()
            guard unsafe inet_pton(AF_INET, text, &parsed) == 1 else { return nil }
            self.init(ipv4: UInt32(bigEndian: parsed.s_addr))
        }
    }

    /// Canonical text: dotted decimal, or lower-case compressed IPv6.
    ///
    /// inet_ntop(3)
    public var description: String {
        var text = [CChar](repeating: 0, count: Self.textBytesMax)
        let size = socklen_t(text.count)
        // Invariant: the buffer holds the longest text of either family and its NUL.
        if isIPv4 {
            var address = in_addr(s_addr: ipv4.bigEndian)
            _ = unsafe inet_ntop(AF_INET, &address, &text, size)
        } else {
            var halves = (high.bigEndian, low.bigEndian)
            _ = unsafe inet_ntop(AF_INET6, &halves, &text, size)
        }
        let end = text.firstIndex(of: 0) ?? text.endIndex
        return String(decoding: text[..<end].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The longest text of an address and its NUL in bytes: C's INET6_ADDRSTRLEN.
    private static var textBytesMax: Int { 46 }
}
