public import PacketMemory

/// What a host says to a ``ProbePacket``.
public struct ProbeAnswer: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case echoReply(identifier: UInt16, sequence: UInt16, token: UInt64)
        /// SYN and ACK: somebody listens at `port`.
        case portOpen(port: UInt16, localPort: UInt16, acknowledgment: UInt32)
        /// RST and ACK: nobody does.
        case portClosed(port: UInt16, localPort: UInt16, acknowledgment: UInt32)
    }

    /// Who answered.
    public let source: IPAddress
    /// Who had asked.
    public let destination: IPAddress
    public let kind: Kind

    /// - Parameter bytes: Any bytes.
    /// - Returns: `nil` for all that is no whole, unfragmented answer without IP options and with
    ///   right checksums.
    public init?(_ bytes: ByteRegion) {
        guard let packet = IPPacket(bytes), packet.totalCount == bytes.count, !packet.isFragment,
            packet.hasTransport
        else { return nil }
        if packet.version == 4 {
            guard packet.headerCount == IPv4Field.headerCountMin,
                Checksum.finish(Checksum.sum(bytes.prefix(packet.headerCount))) == 0
            else { return nil }
        } else {
            guard packet.transportOffset == IPv6Field.headerCount else { return nil }
        }
        guard let kind = Self.kind(of: packet) else { return nil }
        source = packet.source
        destination = packet.destination
        self.kind = kind
    }

    private static func kind(of packet: IPPacket) -> Kind? {
        switch (packet.version, packet.protocol) {
        case (4, IPProtocol.icmp): echoReply(packet, type: EchoField.reply)
        case (6, IPProtocol.icmpv6): echoReply(packet, type: EchoField.replyIPv6)
        case (_, IPProtocol.tcp): segment(packet)
        default: nil
        }
    }

    private static func echoReply(_ packet: IPPacket, type: UInt8) -> Kind? {
        let message = packet.transport
        guard message.count == EchoField.count, message[0] == type, message[1] == 0,
            isSumRight(packet, hasPseudoHeader: packet.version == 6)
        else { return nil }
        return .echoReply(
            identifier: message.bigEndian16(at: EchoField.identifier),
            sequence: message.bigEndian16(at: EchoField.sequence),
            token: message.bigEndian64(at: EchoField.token))
    }

    private static func segment(_ packet: IPPacket) -> Kind? {
        let header = packet.transport
        guard header.count >= TCPField.headerCountMin else { return nil }
        let headerCount = Int(header[TCPField.dataOffset] >> 4) * 4
        guard headerCount >= TCPField.headerCountMin, headerCount <= header.count,
            isSumRight(packet, hasPseudoHeader: true)
        else { return nil }
        let (port, localPort) = (header.bigEndian16(at: 0), header.bigEndian16(at: 2))
        let acknowledgment = header.bigEndian32(at: TCPField.acknowledgment)
        // Flags of congestion control may be there as well.
        switch header[TCPField.flags] & TCPField.stateFlags {
        case TCPField.syn | TCPField.ack:
            guard headerCount == header.count else { return nil }
            return .portOpen(port: port, localPort: localPort, acknowledgment: acknowledgment)
        case TCPField.rst | TCPField.ack:
            return .portClosed(port: port, localPort: localPort, acknowledgment: acknowledgment)
        default: return nil
        }
    }

    private static func isSumRight(_ packet: IPPacket, hasPseudoHeader: Bool) -> Bool {
        let transport = packet.transport
        let pseudo =
            hasPseudoHeader
            ? Checksum.pseudoHeader(
                addressesOf: packet.region.prefix(packet.headerCount),
                isIPv4: packet.version == 4, protocol: packet.protocol,
                transportCount: transport.count) : 0
        return Checksum.finish(Checksum.sum(transport, pseudo)) == 0
    }
}

/// Marks the answers to probes among all packets, cheaply; ``ProbeAnswer`` then looks closely.
public struct ProbeMarks: Hashable, Sendable {
    /// Of echo requests.
    public var identifier: UInt16
    /// Ports that SYNs come from, and that no socket of this machine uses.
    public var localPorts: ClosedRange<UInt16>
    /// Addresses that probes come from.
    public var localAddresses: [IPAddress]

    public init(
        identifier: UInt16, localPorts: ClosedRange<UInt16>, localAddresses: [IPAddress]
    ) {
        self.identifier = identifier
        self.localPorts = localPorts
        self.localAddresses = localAddresses
    }

    /// Whether `packet` may be an answer.
    public func matches(_ packet: IPPacket) -> Bool {
        let transport = packet.transport
        switch packet.protocol {
        case IPProtocol.tcp:
            guard transport.count >= TCPField.headerCountMin,
                localPorts.contains(transport.bigEndian16(at: 2)),
                // A RST, or a SYN with an ACK.
                transport[TCPField.flags] & (TCPField.syn | TCPField.rst) != 0
            else { return false }
        case IPProtocol.icmp, IPProtocol.icmpv6:
            guard transport.count == EchoField.count,
                transport[0] == (packet.version == 4 ? EchoField.reply : EchoField.replyIPv6),
                transport.bigEndian16(at: EchoField.identifier) == identifier
            else { return false }
        default: return false
        }
        return localAddresses.contains(packet.destination)
    }
}
