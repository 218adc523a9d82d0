public import PacketMemory

/// Finds what follows the extension headers of an IPv6 packet.
///
/// Source: RFC 8200, section 4; RFC 4302 (authentication header); RFC 7045.
@usableFromInline
enum IPv6ExtensionHeaders {
    /// How many extension headers are followed: more than any real packet has, and a bound on what
    /// a hostile one costs.
    private static var headersMax: Int { 8 }

    @usableFromInline
    struct Transport {
        /// The first number that is no extension header, or that of the last header within reach.
        @usableFromInline var `protocol`: UInt8
        @usableFromInline var offset: Int
        @usableFromInline var isFragment: Bool
        @usableFromInline var isLaterFragment = false
        @usableFromInline var isFound: Bool
    }

    /// - Parameter packet: At least 40 bytes, cut to its stated length.
    @usableFromInline
    static func transport(of packet: ByteRegion) -> Transport {
        var next = packet[IPv6Field.nextHeader]
        var offset = IPv6Field.headerCount
        var isFragment = false
        for _ in 0...headersMax {
            guard let kind = Kind(rawValue: next) else {
                return Transport(
                    protocol: next, offset: offset, isFragment: isFragment, isFound: true)
            }
            guard packet.count &- offset >= 8 else { break }
            let count: Int
            switch kind {
            case .hopByHop, .routing, .destinationOptions, .mobility, .hostIdentity, .shim6:
                count = (Int(packet[offset &+ 1]) &+ 1) &* 8
            case .authentication:
                count = (Int(packet[offset &+ 1]) &+ 2) &* 4
            case .fragment:
                count = 8
                let word = packet.bigEndian16(at: offset &+ 2)
                // An offset of zero without more to come is an atomic fragment, a whole packet.
                isFragment = isFragment || word & 0xfff9 != 0
                if word & 0xfff8 != 0 {
                    return Transport(
                        protocol: packet[offset], offset: packet.count, isFragment: true,
                        isLaterFragment: true, isFound: false)
                }
            }
            guard count <= packet.count &- offset else { break }
            next = packet[offset]
            offset &+= count
        }
        return Transport(
            protocol: next, offset: packet.count, isFragment: isFragment, isFound: false)
    }

    /// The identification in the first fragment header within reach; zero if there is none.
    static func fragmentIdentification(of packet: ByteRegion) -> UInt32 {
        var next = packet[IPv6Field.nextHeader]
        var offset = IPv6Field.headerCount
        for _ in 0...headersMax {
            guard let kind = Kind(rawValue: next), packet.count &- offset >= 8 else { return 0 }
            if kind == .fragment { return packet.bigEndian32(at: offset &+ 4) }
            let words = Int(packet[offset &+ 1])
            next = packet[offset]
            offset &+= kind == .authentication ? (words &+ 2) &* 4 : (words &+ 1) &* 8
        }
        return 0
    }

    /// Whether a routing header names places that are still to be passed.
    @usableFromInline
    static func hasRouteLeft(_ packet: ByteRegion) -> Bool {
        var next = packet[IPv6Field.nextHeader]
        var offset = IPv6Field.headerCount
        for _ in 0...headersMax {
            guard let kind = Kind(rawValue: next), packet.count &- offset >= 8 else { return false }
            if kind == .routing, packet[offset &+ 3] != 0 { return true }
            let words = Int(packet[offset &+ 1])
            next = packet[offset]
            switch kind {
            case .fragment: offset &+= 8
            case .authentication: offset &+= (words &+ 2) &* 4
            default: offset &+= (words &+ 1) &* 8
            }
        }
        return false
    }

    private enum Kind: UInt8 {
        case hopByHop = 0
        case routing = 43
        case fragment = 44
        case authentication = 51
        case destinationOptions = 60
        case mobility = 135
        case hostIdentity = 139
        case shim6 = 140
    }
}
