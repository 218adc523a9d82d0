public import PacketMemory

/// Tells a local sender that its packet has no way to go.
///
/// Source: RFC 792; RFC 1122, section 3.2.2; RFC 1191, section 4; RFC 1812, section 4.3.2.7;
/// RFC 4443, sections 2.4(e), 3.1 and 3.2. Limiting the rate is the caller's.
public enum ICMPUnreachable {
    /// Why a packet does not go on.
    public enum Reason: Sendable, Hashable {
        /// "Host unreachable" (IPv4) or "address unreachable" (IPv6).
        case host
        /// "Fragmentation needed" (IPv4) or "packet too big" (IPv6): no packet may be longer than
        /// this, in bytes; 68 or more, with IPv6 1,280 or more.
        case tooBig(mtu: Int)
    }

    /// The longest answer in bytes: 576 for IPv4 (RFC 1812, section 4.3.2.3), the minimum MTU for
    /// IPv6 (RFC 4443, section 2.4(c)).
    public static func countMax(version: Int) -> Int {
        version == 4 ? 576 : IPPacket.ipv6MTUMin
    }

    /// Writes the error, quoting the packet.
    ///
    /// - Parameter packet: The packet that cannot be delivered; any bytes.
    /// - Parameter source: The answer's source address. The packet's own destination is used where
    ///   none of the packet's family is given, so that the sender accepts the answer.
    /// - Parameter answer: Up to 1,280 bytes are used; less room shortens the quotation.
    /// - Returns: Bytes written; 0 where no answer may be sent, or where there is no room for one
    ///   that says enough.
    public static func build(
        _ reason: Reason = .host, for packet: ByteRegion, from source: IPAddress?,
        into answer: ByteRegion
    ) -> Int {
        guard let view = IPPacket(packet), mayAnswer(view) else { return 0 }
        let sender = source.flatMap { $0.isIPv4 == (view.version == 4) ? $0 : nil }
        return view.version == 4
            ? buildIPv4(reason, view, sender ?? view.destination, answer)
            : buildIPv6(reason, view, sender ?? view.destination, answer)
    }
}

extension ICMPUnreachable {
    private static func mayAnswer(_ packet: IPPacket) -> Bool {
        guard packet.hasTransport else { return false }
        return packet.version == 4 ? mayAnswerIPv4(packet) : mayAnswerIPv6(packet)
    }

    private static func mayAnswerIPv4(_ packet: IPPacket) -> Bool {
        let destination = packet.destinationIPv4
        guard isSingleHost(packet.sourceIPv4), destination >> 28 != 0xe, destination != .max
        else { return false }
        guard packet.protocol == IPProtocol.icmp else { return true }
        guard !packet.transport.isEmpty else { return false }
        switch packet.transport[0] {
        // Echo, router discovery, timestamp, information and address mask: questions and answers.
        case 0, 8, 9, 10, 13...18: return true
        // Errors, and what may be one.
        default: return false
        }
    }

    /// Whether an address stands for one machine that an answer can reach: not 0/8, 127/8,
    /// multicast, the reserved 240/4 or broadcast.
    private static func isSingleHost(_ address: UInt32) -> Bool {
        switch address >> 24 {
        case 0, 127, 224...255: false
        default: true
        }
    }

    private static func mayAnswerIPv6(_ packet: IPPacket) -> Bool {
        let isFromNowhere = packet.sourceHigh == 0 && packet.sourceLow <= 1
        guard !isFromNowhere, packet.sourceHigh >> 56 != 0xff,
            packet.destinationHigh >> 56 != 0xff
        else { return false }
        guard packet.protocol == IPProtocol.icmpv6 else { return true }
        // Types below 128 are errors; 137 is a redirect.
        guard !packet.transport.isEmpty else { return false }
        return packet.transport[0] >= 128 && packet.transport[0] != 137
    }
}

extension ICMPUnreachable {
    private static let ipv4QuotedExtra = 8
    private static let icmpHeaderCount = 8
    private static let hopsMax: UInt8 = 64

    private static func buildIPv4(
        _ reason: Reason, _ packet: IPPacket, _ source: IPAddress, _ answer: ByteRegion
    ) -> Int {
        let start = IPv4Field.headerCountMin
        let room = min(answer.count, countMax(version: 4)) &- start &- icmpHeaderCount
        let quoted = min(packet.totalCount, room)
        guard quoted >= min(packet.totalCount, packet.headerCount &+ ipv4QuotedExtra)
        else { return 0 }
        let count = start &+ icmpHeaderCount &+ quoted
        let header = answer.prefix(start)
        header.fill(with: 0)
        // Internetwork control, as RFC 1812, section 4.3.2.5, asks of error messages.
        header.storeBigEndian(UInt16(0x45c0), at: 0)
        header.storeBigEndian(UInt16(truncatingIfNeeded: count), at: IPv4Field.totalLength)
        header[IPv4Field.timeToLive] = hopsMax
        header[IPv4Field.protocol] = IPProtocol.icmp
        header.storeBigEndian(source.ipv4, at: IPv4Field.source)
        header.storeBigEndian(packet.sourceIPv4, at: IPv4Field.destination)
        header.storeBigEndian(
            Checksum.finish(Checksum.sum(header)), at: IPv4Field.checksum)
        let message = answer.region(at: start, count: icmpHeaderCount &+ quoted)
        switch reason {
        case .host: writeMessage(message, type: 3, code: 1, quoting: packet)
        case .tooBig(let mtu):
            writeMessage(
                message, type: 3, code: 4, rest: UInt32(UInt16(clamping: mtu)), quoting: packet)
        }
        return count
    }

    private static func buildIPv6(
        _ reason: Reason, _ packet: IPPacket, _ source: IPAddress, _ answer: ByteRegion
    ) -> Int {
        let start = IPv6Field.headerCount
        let room = min(answer.count, countMax(version: 6)) &- start &- icmpHeaderCount
        let quoted = min(packet.totalCount, room)
        guard quoted >= min(packet.totalCount, IPv6Field.headerCount &+ icmpHeaderCount)
        else { return 0 }
        let header = answer.prefix(start)
        header.storeBigEndian(UInt32(0x6000_0000), at: 0)
        header.storeBigEndian(
            UInt16(truncatingIfNeeded: icmpHeaderCount &+ quoted), at: IPv6Field.payloadLength)
        header[IPv6Field.nextHeader] = IPProtocol.icmpv6
        header[IPv6Field.hopLimit] = hopsMax
        header.storeBigEndian(source.high, at: IPv6Field.source)
        header.storeBigEndian(source.low, at: IPv6Field.source &+ 8)
        header.storeBigEndian(packet.sourceHigh, at: IPv6Field.destination)
        header.storeBigEndian(packet.sourceLow, at: IPv6Field.destination &+ 8)
        let message = answer.region(at: start, count: icmpHeaderCount &+ quoted)
        let pseudo = Checksum.pseudoHeader(
            addressesOf: header, isIPv4: false, protocol: IPProtocol.icmpv6,
            transportCount: message.count)
        switch reason {
        case .host: writeMessage(message, type: 1, code: 3, quoting: packet, pseudoSum: pseudo)
        case .tooBig(let mtu):
            writeMessage(
                message, type: 2, code: 0, rest: UInt32(clamping: mtu), quoting: packet,
                pseudoSum: pseudo)
        }
        return start &+ message.count
    }

    /// Type, code, checksum, four bytes of their own meaning, and as much of the packet as the
    /// message holds.
    ///
    /// - Parameter rest: An MTU; IPv4's has the lower two bytes, and IPv6's all four.
    private static func writeMessage(
        _ message: ByteRegion, type: UInt8, code: UInt8, rest: UInt32 = 0,
        quoting packet: IPPacket, pseudoSum: UInt64 = 0
    ) {
        message.prefix(icmpHeaderCount).fill(with: 0)
        message[0] = type
        message[1] = code
        message.storeBigEndian(rest, at: 4)
        let quoted = packet.region.prefix(message.count &- icmpHeaderCount)
        message.copy(from: quoted, to: icmpHeaderCount)
        message.storeBigEndian(Checksum.finish(Checksum.sum(message, pseudoSum)), at: 2)
    }
}

extension ByteRegion {
    fileprivate var isEmpty: Bool { count == 0 }
}
