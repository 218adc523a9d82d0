public import PacketFormats

/// Which of our addresses a datagram was sent to, and the interface that it came in by.
///
/// Kept as the kernel writes it, 16 bytes in network order with IPv4 mapped, so that comparing two
/// costs three word compares.
@frozen
public struct LocalAddress: Hashable, Sendable {
    @usableFromInline var first: UInt64
    @usableFromInline var second: UInt64
    /// Of a link-local IPv6 address, which means something only together with it; otherwise 0.
    public var interfaceIndex: UInt32

    @inlinable
    init(first: UInt64, second: UInt64, interfaceIndex: UInt32) {
        self.first = first
        self.second = second
        self.interfaceIndex = interfaceIndex
    }

    public init(address: IPAddress, interfaceIndex: UInt32) {
        (first, second) = AddressWords.mapped(address)
        self.interfaceIndex = interfaceIndex
    }

    public var address: IPAddress {
        AddressWords.address(first, second)
    }

    /// Stands for "not known": no datagram is addressed to the unspecified address.
    @inlinable
    public var isUnspecified: Bool { first == 0 && second == 0 }

    /// The same, with the interface only where the address needs it (fe80::/10).
    var withoutNeedlessInterface: LocalAddress {
        AddressWords.isLinkLocal(first)
            ? self : LocalAddress(first: first, second: second, interfaceIndex: 0)
    }

    static let unspecified = LocalAddress(first: 0, second: 0, interfaceIndex: 0)
}

/// IP addresses as two words of memory in network order, IPv4 mapped into ::ffff:0:0/96
/// (RFC 4291, section 2.5.5.2).
enum AddressWords {
    static func mapped(_ address: IPAddress) -> (UInt64, UInt64) {
        address.isIPv4
            ? mapped(ipv4: address.ipv4) : (address.high.bigEndian, address.low.bigEndian)
    }

    static func mapped(ipv4: UInt32) -> (UInt64, UInt64) {
        (0, (mappedPrefix | UInt64(ipv4)).bigEndian)
    }

    static func address(_ first: UInt64, _ second: UInt64) -> IPAddress {
        let low = UInt64(bigEndian: second)
        return isMapped(first, second)
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: low))
            : IPAddress(high: UInt64(bigEndian: first), low: low)
    }

    static func isMapped(_ first: UInt64, _ second: UInt64) -> Bool {
        first == 0 && UInt64(bigEndian: second) >> 32 == mappedPrefix >> 32
    }

    /// Whether an IPv6 address that begins with `first` is link-local.
    static func isLinkLocal(_ first: UInt64) -> Bool {
        IPAddress(high: UInt64(bigEndian: first), low: 0).isLinkLocal
    }

    private static let mappedPrefix: UInt64 = 0xffff_0000_0000
}
