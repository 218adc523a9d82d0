import PacketMemory

/// Packets that ask whether a host answers: ICMP echo requests and TCP SYNs.
///
/// Source: RFC 792; RFC 4443, section 4.1; RFC 9293, section 3.1.
public enum ProbePacket {
    /// An echo request that carries `token`.
    ///
    /// - Parameters:
    ///   - source: Of the family of `destination`.
    ///   - token: What only whoever sees the request can send back.
    public static func echoRequest(
        from source: IPAddress, to destination: IPAddress, identifier: UInt16, sequence: UInt16,
        token: UInt64
    ) -> [UInt8] {
        build(
            from: source, to: destination, source.isIPv4 ? IPProtocol.icmp : IPProtocol.icmpv6,
            transportCount: EchoField.count, checksumAt: EchoField.checksum,
            hasPseudoHeader: !source.isIPv4
        ) { message in
            message[0] = source.isIPv4 ? EchoField.request : EchoField.requestIPv6
            message.storeBigEndian(identifier, at: EchoField.identifier)
            message.storeBigEndian(sequence, at: EchoField.sequence)
            message.storeBigEndian(token, at: EchoField.token)
        }
    }

    /// A SYN without options but the segment size that every host takes.
    public static func synchronize(
        from source: IPAddress, port sourcePort: UInt16, to destination: IPAddress,
        port destinationPort: UInt16, sequence: UInt32
    ) -> [UInt8] {
        segment(
            from: source, port: sourcePort, to: destination, port: destinationPort,
            sequence: sequence, flags: TCPField.syn,
            // Maximum segment size 536 (RFC 9293, section 3.7.1).
            options: [2, 4, 0x02, 0x18])
    }

    /// What ends the connection that a SYN began.
    ///
    /// - Parameter sequence: What the other side acknowledged.
    public static func reset(
        from source: IPAddress, port sourcePort: UInt16, to destination: IPAddress,
        port destinationPort: UInt16, sequence: UInt32
    ) -> [UInt8] {
        segment(
            from: source, port: sourcePort, to: destination, port: destinationPort,
            sequence: sequence, flags: TCPField.rst, options: [])
    }

    private static func segment(
        from source: IPAddress, port sourcePort: UInt16, to destination: IPAddress,
        port destinationPort: UInt16, sequence: UInt32, flags: UInt8, options: [UInt8]
    ) -> [UInt8] {
        let headerCount = TCPField.headerCountMin + options.count
        return build(
            from: source, to: destination, IPProtocol.tcp, transportCount: headerCount,
            checksumAt: TCPField.checksum, hasPseudoHeader: true
        ) { header in
            header.storeBigEndian(sourcePort, at: 0)
            header.storeBigEndian(destinationPort, at: 2)
            header.storeBigEndian(sequence, at: TCPField.sequence)
            header[TCPField.dataOffset] = UInt8(headerCount / 4) << 4
            header[TCPField.flags] = flags
            header.storeBigEndian(UInt16(1_024), at: TCPField.window)
            for (offset, byte) in options.enumerated() {
                header[TCPField.headerCountMin + offset] = byte
            }
        }
    }

    private static func build(
        from source: IPAddress, to destination: IPAddress, _ protocolNumber: UInt8,
        transportCount: Int, checksumAt checksum: Int, hasPseudoHeader: Bool,
        _ fill: (ByteRegion) -> Void
    ) -> [UInt8] {
        precondition(source.isIPv4 == destination.isIPv4, "a packet is of one family")
        let headerCount = source.isIPv4 ? IPv4Field.headerCountMin : IPv6Field.headerCount
        let arena = ByteArena(count: headerCount + transportCount)
        return withExtendedLifetime(arena) {
            let packet = arena.whole
            packet.fill(with: 0)
            let header = packet.prefix(headerCount)
            if source.isIPv4 {
                header[0] = 0x45
                header.storeBigEndian(UInt16(packet.count), at: IPv4Field.totalLength)
                header.storeBigEndian(IPv4Field.doNotFragment, at: IPv4Field.fragment)
                header[IPv4Field.timeToLive] = hopsMax
                header[IPv4Field.protocol] = protocolNumber
                header.storeBigEndian(source.ipv4, at: IPv4Field.source)
                header.storeBigEndian(destination.ipv4, at: IPv4Field.destination)
                header.storeBigEndian(
                    Checksum.finish(Checksum.sum(header)), at: IPv4Field.checksum)
            } else {
                header[0] = 0x60
                header.storeBigEndian(UInt16(transportCount), at: IPv6Field.payloadLength)
                header[IPv6Field.nextHeader] = protocolNumber
                header[IPv6Field.hopLimit] = hopsMax
                header.storeBigEndian(source.high, at: IPv6Field.source)
                header.storeBigEndian(source.low, at: IPv6Field.source + 8)
                header.storeBigEndian(destination.high, at: IPv6Field.destination)
                header.storeBigEndian(destination.low, at: IPv6Field.destination + 8)
            }
            let transport = packet.region(from: headerCount)
            fill(transport)
            let pseudo =
                hasPseudoHeader
                ? Checksum.pseudoHeader(
                    addressesOf: header, isIPv4: source.isIPv4, protocol: protocolNumber,
                    transportCount: transportCount) : 0
            transport.storeBigEndian(
                Checksum.finish(Checksum.sum(transport, pseudo)), at: checksum)
            return packet.bytes
        }
    }

    private static let hopsMax: UInt8 = 64
}

/// Echo messages as probes send them: the header and a token.
enum EchoField {
    static let reply: UInt8 = 0
    static let request: UInt8 = 8
    static let requestIPv6: UInt8 = 128
    static let replyIPv6: UInt8 = 129
    static let checksum = 2
    static let identifier = 4
    static let sequence = 6
    static let token = 8
    static let count = 16
}
