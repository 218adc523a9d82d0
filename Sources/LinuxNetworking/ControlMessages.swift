import CLinux
import Glibc

/// Control messages (cmsg(3)) as raw memory: what the kernel reports with a datagram, and what we
/// ask for with one.
///
/// Each is a 16-byte header (length including itself, level, type) and data, padded to 8 bytes.
enum ControlMessages {
    /// Room for everything that our sockets report: GRO size 24, ToS 24, two packet infos 32 + 40,
    /// time 32 bytes, and a margin.
    static let receivedByteCountMax = 192

    /// Room for everything that ``write(into:name:trafficClass:source:segmentByteCount:)`` writes.
    static let sentByteCountMax = 96

    private static let headerByteCount = 16

    /// Reads `count` bytes of control messages that the kernel has written at `start`.
    @inline(__always)
    static func read(
        _ start: UnsafeMutableRawPointer, count: Int, into arrival: inout ReceiveBatch.Arrival
    ) {
        var offset = 0
        while offset &+ headerByteCount <= count {
            let message = unsafe start + offset
            let byteCount = unsafe message.load(as: Int.self)
            if byteCount < headerByteCount || byteCount > count &- offset { return }
            unsafe readOne(
                message + headerByteCount, count: byteCount &- headerByteCount,
                level: message.load(fromByteOffset: 8, as: Int32.self),
                type: message.load(fromByteOffset: 12, as: Int32.self), into: &arrival)
            offset &+= (byteCount &+ 7) & ~7
        }
    }

    @inline(__always)
    private static func readOne(
        _ data: UnsafeMutableRawPointer, count: Int, level: Int32, type: Int32,
        into arrival: inout ReceiveBatch.Arrival
    ) {
        switch (level, type) {
        case (Level.udp, Kind.coalesced) where count >= 4:
            arrival.segmentByteCount = Int(unsafe data.load(as: Int32.self))
        case (Level.ipv4, Kind.ipv4TrafficClass) where count >= 1:
            arrival.trafficClass = unsafe data.load(as: UInt8.self)
        case (Level.ipv6, Kind.ipv6TrafficClass) where count >= 4:
            arrival.trafficClass = UInt8(truncatingIfNeeded: unsafe data.load(as: Int32.self))
        case (Level.ipv6, Kind.ipv6PacketInformation) where count >= 20:
            arrival.local = unsafe LocalAddress(
                first: data.load(as: UInt64.self),
                second: data.load(fromByteOffset: 8, as: UInt64.self),
                interfaceIndex: data.load(fromByteOffset: 16, as: UInt32.self)
            ).withoutNeedlessInterface
        case (Level.ipv4, Kind.ipv4PacketInformation) where count >= 12:
            // Interface index, our address on the route back, destination of the datagram. The
            // index would make every change of the way in look as if the peer had moved.
            let address = UInt32(bigEndian: unsafe data.load(fromByteOffset: 8, as: UInt32.self))
            let (first, second) = AddressWords.mapped(ipv4: address)
            arrival.local = LocalAddress(
                first: first, second: second, interfaceIndex: 0)
        case (Level.socket, Kind.time) where count >= 16:
            let seconds = unsafe data.load(as: Int64.self)
            let fraction = unsafe data.load(fromByteOffset: 8, as: Int64.self)
            arrival.nanoseconds = UInt64(
                truncatingIfNeeded: seconds &* 1_000_000_000 &+ fraction)
        default:
            break
        }
    }

    /// Writes what one message asks for.
    ///
    /// - Parameters:
    ///   - segmentByteCount: 0 for a single datagram. Its control message comes last, so that
    ///     sending without it means to send 24 bytes less.
    /// - Returns: Bytes written, 0 when there is nothing to ask for.
    @inline(__always)
    static func write(
        into start: UnsafeMutableRawPointer, name: SocketName, trafficClass: UInt8,
        source: LocalAddress, segmentByteCount: Int
    ) -> Int {
        var offset = 0
        let isIPv4 = name.isIPv4
        if trafficClass != 0 {
            let data = unsafe append(
                start, &offset, isIPv4 ? Level.ipv4 : Level.ipv6,
                isIPv4 ? Kind.ipv4TrafficClass : Kind.ipv6TrafficClass, 4)
            unsafe data.storeBytes(of: Int32(trafficClass), as: Int32.self)
        }
        if !source.isUnspecified {
            unsafe writeSource(source, isIPv4, start, &offset)
        }
        if segmentByteCount > 0 {
            let data = unsafe append(start, &offset, Level.udp, Kind.segmented, 2)
            unsafe data.storeBytes(of: UInt16(clamping: segmentByteCount), as: UInt16.self)
        }
        return offset
    }

    /// Bytes that the segmentation request takes at the end.
    static let segmentationByteCount = 24

    /// The interface is named only where the address means nothing without it: naming it would
    /// overrule the routing table, and a peer must stay reachable when its route changes.
    private static func writeSource(
        _ source: LocalAddress, _ isIPv4: Bool, _ start: UnsafeMutableRawPointer,
        _ offset: inout Int
    ) {
        if isIPv4 {
            let data = unsafe append(start, &offset, Level.ipv4, Kind.ipv4PacketInformation, 12)
            unsafe data.storeBytes(of: 0, as: UInt32.self)
            unsafe data.storeBytes(
                of: UInt32(truncatingIfNeeded: source.second >> 32), toByteOffset: 4,
                as: UInt32.self)
            unsafe data.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
        } else {
            let data = unsafe append(start, &offset, Level.ipv6, Kind.ipv6PacketInformation, 20)
            let isLinkLocal = AddressWords.isLinkLocal(source.first)
            unsafe data.storeBytes(of: source.first, as: UInt64.self)
            unsafe data.storeBytes(of: source.second, toByteOffset: 8, as: UInt64.self)
            unsafe data.storeBytes(
                of: isLinkLocal ? source.interfaceIndex : 0, toByteOffset: 16, as: UInt32.self)
        }
    }

    /// Writes a header and returns where its data goes.
    @inline(__always)
    private static func append(
        _ start: UnsafeMutableRawPointer, _ offset: inout Int, _ level: Int32, _ type: Int32,
        _ count: Int
    ) -> UnsafeMutableRawPointer {
        let message = unsafe start + offset
        unsafe message.storeBytes(of: headerByteCount &+ count, as: Int.self)
        unsafe message.storeBytes(of: level, toByteOffset: 8, as: Int32.self)
        unsafe message.storeBytes(of: type, toByteOffset: 12, as: Int32.self)
        offset &+= headerByteCount &+ ((count &+ 7) & ~7)
        return unsafe message + headerByteCount
    }

    private enum Level {
        static var socket: Int32 { SOL_SOCKET }
        static var ipv4: Int32 { 0 }
        static var ipv6: Int32 { 41 }
        static var udp: Int32 { Int32(CLINUX_SOL_UDP) }
    }

    private enum Kind {
        static var segmented: Int32 { Int32(CLINUX_UDP_SEGMENT) }
        static var coalesced: Int32 { Int32(CLINUX_UDP_GRO) }
        static var ipv4TrafficClass: Int32 { IP_TOS }
        static var ipv4PacketInformation: Int32 { IP_PKTINFO }
        static var ipv6TrafficClass: Int32 { IPV6_TCLASS }
        static var ipv6PacketInformation: Int32 { IPV6_PKTINFO }
        static var time: Int32 { Int32(CLINUX_SO_TIMESTAMPNS) }
    }
}
