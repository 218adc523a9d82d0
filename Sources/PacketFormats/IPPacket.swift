public import PacketMemory

/// A view of one IPv4 or IPv6 packet whose lengths have been checked.
///
/// It borrows the bytes. Every accessor stays inside of them for as long as the IP header's
/// version and lengths are not changed underneath.
public struct IPPacket {
    /// The packet: exactly as long as its header says.
    public let region: ByteRegion
    /// 4 or 6.
    public let version: Int
    /// The IP header in bytes: with IPv4 options, without IPv6 extension headers.
    public let headerCount: Int
    /// Where the transport header begins, past IPv6 extension headers; `totalCount` if there is
    /// none within reach (see ``hasTransport``).
    public let transportOffset: Int
    /// The transport protocol: in IPv6 what the last extension header names.
    public let `protocol`: UInt8
    /// Whether this is a piece of a packet, the first included.
    public let isFragment: Bool
    /// Whether this is a piece of a packet, and not the first.
    public let isLaterFragment: Bool
    /// Whether `transportOffset` holds the beginning of a transport header: false for later
    /// fragments and for extension headers that are cut off or too many.
    public let hasTransport: Bool

    /// - Parameter bytes: The packet, perhaps followed by padding.
    /// - Returns: `nil` unless the version is 4 or 6 and the header and the length that it states
    ///   fit in `bytes`.
    @inlinable
    public init?(_ bytes: ByteRegion) {
        guard bytes.count >= IPv4Field.headerCountMin else { return nil }
        let first = bytes[0]
        if first >> 4 == 4 {
            let header = Int(first & 0x0f) &* 4
            let total = Int(bytes.bigEndian16(at: IPv4Field.totalLength))
            guard header >= IPv4Field.headerCountMin, total >= header, total <= bytes.count
            else { return nil }
            let fragment = bytes.bigEndian16(at: IPv4Field.fragment)
            region = bytes.prefix(total)
            version = 4
            headerCount = header
            `protocol` = bytes[IPv4Field.protocol]
            isFragment = fragment & IPv4Field.fragmentMask != 0
            isLaterFragment = fragment & IPv4Field.fragmentOffsetMask != 0
            hasTransport = !isLaterFragment
            transportOffset = hasTransport ? header : total
        } else if first >> 4 == 6 {
            guard bytes.count >= IPv6Field.headerCount else { return nil }
            let total =
                Int(bytes.bigEndian16(at: IPv6Field.payloadLength)) &+ IPv6Field.headerCount
            guard total <= bytes.count else { return nil }
            region = bytes.prefix(total)
            version = 6
            headerCount = IPv6Field.headerCount
            let next = bytes[IPv6Field.nextHeader]
            if next == IPProtocol.tcp || next == IPProtocol.udp || next == IPProtocol.icmpv6 {
                `protocol` = next
                isFragment = false
                isLaterFragment = false
                hasTransport = true
                transportOffset = IPv6Field.headerCount
            } else {
                let transport = IPv6ExtensionHeaders.transport(of: region)
                `protocol` = transport.protocol
                isFragment = transport.isFragment
                isLaterFragment = transport.isLaterFragment
                hasTransport = transport.isFound
                transportOffset = transport.isFound ? transport.offset : total
            }
        } else {
            return nil
        }
    }

    /// The packet's length in bytes, as its header states it.
    @inlinable public var totalCount: Int { region.count }

    /// The transport header and payload; empty without transport.
    @inlinable public var transport: ByteRegion { region.region(from: transportOffset) }

    /// Whether routers may cut it in two: IPv4 without Don't Fragment.
    public var mayBeFragmented: Bool {
        version == 4 && region.bigEndian16(at: IPv4Field.fragment) & 0x4000 == 0
    }

    @inlinable public var source: IPAddress {
        version == 4
            ? IPAddress(ipv4: sourceIPv4) : IPAddress(high: sourceHigh, low: sourceLow)
    }
    @inlinable public var destination: IPAddress {
        version == 4
            ? IPAddress(ipv4: destinationIPv4)
            : IPAddress(high: destinationHigh, low: destinationLow)
    }

    /// Meaningful for version 4.
    @inlinable public var sourceIPv4: UInt32 { region.bigEndian32(at: IPv4Field.source) }
    /// Meaningful for version 4.
    @inlinable public var destinationIPv4: UInt32 {
        region.bigEndian32(at: IPv4Field.destination)
    }
    /// For version 6 only: reading it from a short IPv4 packet traps.
    @inlinable public var sourceHigh: UInt64 { region.bigEndian64(at: IPv6Field.source) }
    /// For version 6 only: reading it from a short IPv4 packet traps.
    @inlinable public var sourceLow: UInt64 { region.bigEndian64(at: IPv6Field.source &+ 8) }
    /// For version 6 only: reading it from a short IPv4 packet traps.
    @inlinable public var destinationHigh: UInt64 {
        region.bigEndian64(at: IPv6Field.destination)
    }
    /// For version 6 only: reading it from a short IPv4 packet traps.
    @inlinable public var destinationLow: UInt64 {
        region.bigEndian64(at: IPv6Field.destination &+ 8)
    }
}

extension IPPacket {
    /// The smallest MTU of a link with IPv6 (RFC 8200, section 5), in bytes.
    public static var ipv6MTUMin: Int { 1_280 }

    /// IP and UDP headers of a datagram without options, in bytes.
    public static func udpHeadersCount(isIPv4: Bool) -> Int {
        (isIPv4 ? IPv4Field.headerCountMin : IPv6Field.headerCount) + UDPField.headerCount
    }
}

extension IPPacket {
    /// DSCP and ECN: IPv4's type of service or IPv6's traffic class.
    ///
    /// Setting it keeps an IPv4 header checksum as right, or as wrong, as it was.
    @inlinable public var trafficClass: UInt8 {
        get {
            version == 4
                ? UInt8(truncatingIfNeeded: region.bigEndian16(at: 0))
                : UInt8(truncatingIfNeeded: region.bigEndian16(at: 0) >> 4)
        }
        nonmutating set {
            let old = region.bigEndian16(at: 0)
            let shift: UInt16 = version == 4 ? 0 : 4
            let new = old & ~(0xff << shift) | UInt16(newValue) << shift
            region.storeBigEndian(new, at: 0)
            guard version == 4 else { return }
            region.storeBigEndian(
                Checksum.updated(
                    region.bigEndian16(at: IPv4Field.checksum), replacing: old, with: new),
                at: IPv4Field.checksum)
        }
    }

    /// Setting it keeps DSCP.
    @inlinable public var ecn: ECN {
        get { ECN(trafficClass: trafficClass) }
        nonmutating set { trafficClass = trafficClass & ~3 | newValue.rawValue }
    }

    /// Marks congestion if the sender would see it.
    /// - Returns: `false` for a Not-ECT packet, which is left alone: drop it instead.
    @inlinable
    public func markCE() -> Bool {
        switch ecn {
        case .notECT: return false
        case .ce: return true
        case .ect0, .ect1:
            ecn = .ce
            return true
        }
    }
}

extension IPPacket {
    /// Number that the fragments of one packet have in common; 0 where there is none.
    public var fragmentIdentification: UInt32 {
        version == 4
            ? UInt32(region.bigEndian16(at: IPv4Field.identification))
            : IPv6ExtensionHeaders.fragmentIdentification(of: region)
    }

    /// Whether this later fragment would lie over the end of a TCP header, which the first one
    /// brings whole.
    ///
    /// Source: RFC 1858, section 4.
    public var overwritesHeader: Bool {
        version == 4 && self.protocol == IPProtocol.tcp
            && region.bigEndian16(at: IPv4Field.fragment) & IPv4Field.fragmentOffsetMask == 1
    }

    /// Whether the packet names further places that it is to pass: its destination is not, or may
    /// not be, where it ends.
    ///
    /// Source: RFC 791, section 3.1 (loose and strict source routing); RFC 8200, section 4.4.
    @inlinable public var isSourceRouted: Bool {
        version == 4
            ? headerCount > IPv4Field.headerCountMin
                && IPv4Options.haveSourceRoute(region.prefix(headerCount))
            // What a later fragment's protocol is, its sender says, and may say a routing header.
            : (isFragment || region[IPv6Field.nextHeader] != self.protocol)
                && IPv6ExtensionHeaders.hasRouteLeft(region)
    }
}
