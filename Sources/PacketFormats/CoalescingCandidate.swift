import PacketMemory

/// What the coalescer needs to know of a packet before it looks for a run.
struct CoalescingCandidate {
    enum Class: UInt8 {
        /// May begin or extend a run.
        case mergeable
        /// Stands alone, and ends the run of its flow: a bare acknowledgment, FIN, no checksum.
        case standalone
        /// Stands alone and belongs to no flow that has runs.
        case foreign
        /// Stands alone; its flow cannot be told, so it ends all runs between its addresses.
        case opaque
    }

    let group: Class
    let isIPv4: Bool
    let isTCP: Bool
    /// IP header in bytes.
    let ipCount: Int
    /// IP and transport header in bytes.
    let headerCount: Int

    @inline(__always)
    private init(
        _ group: Class, isIPv4: Bool = false, isTCP: Bool = false, ipCount: Int = 0,
        headerCount: Int = 0
    ) {
        self.group = group
        self.isIPv4 = isIPv4
        self.isTCP = isTCP
        self.ipCount = ipCount
        self.headerCount = headerCount
    }

    @inline(__always)
    static func of(_ packet: ByteRegion) -> CoalescingCandidate {
        guard packet.count >= IPv4Field.headerCountMin else { return .init(.opaque) }
        let first = packet[0]
        if first == 0x45 {
            let fragment = packet.bigEndian16(at: IPv4Field.fragment)
            guard Int(packet.bigEndian16(at: IPv4Field.totalLength)) == packet.count,
                fragment & ~IPv4Field.doNotFragment == 0
            else { return .init(.opaque) }
            return transport(
                packet, packet[IPv4Field.protocol], isIPv4: true, IPv4Field.headerCountMin)
        }
        guard first >> 4 == 6, packet.count >= IPv6Field.headerCount,
            Int(packet.bigEndian16(at: IPv6Field.payloadLength)) &+ IPv6Field.headerCount
                == packet.count
        else { return .init(.opaque) }
        return transport(
            packet, packet[IPv6Field.nextHeader], isIPv4: false, IPv6Field.headerCount)
    }

    @inline(__always)
    private static func transport(
        _ packet: ByteRegion, _ number: UInt8, isIPv4: Bool, _ ipCount: Int
    ) -> CoalescingCandidate {
        switch number {
        case IPProtocol.tcp: return tcp(packet, isIPv4: isIPv4, ipCount)
        case IPProtocol.udp: return udp(packet, isIPv4: isIPv4, ipCount)
        case IPProtocol.icmpv6: return .init(.foreign)
        // In IPv6 another number may be an extension header before TCP or UDP.
        default: return .init(isIPv4 ? .foreign : .opaque)
        }
    }

    @inline(__always)
    private static func tcp(
        _ packet: ByteRegion, isIPv4: Bool, _ ipCount: Int
    ) -> CoalescingCandidate {
        guard packet.count >= ipCount &+ TCPField.headerCountMin else { return .init(.opaque) }
        let offsetByte = packet[ipCount &+ TCPField.dataOffset]
        let headerCount = ipCount &+ Int(offsetByte >> 4) &* 4
        let flags = packet[ipCount &+ TCPField.flags]
        // The low nibble is reserved, or Accurate ECN's third flag.
        let isMergeable =
            flags & ~TCPField.psh == TCPField.ack && offsetByte & 0x0f == 0
            && headerCount >= ipCount &+ TCPField.headerCountMin && headerCount < packet.count
        return .init(
            isMergeable ? .mergeable : .standalone, isIPv4: isIPv4, isTCP: true,
            ipCount: ipCount, headerCount: headerCount)
    }

    @inline(__always)
    private static func udp(
        _ packet: ByteRegion, isIPv4: Bool, _ ipCount: Int
    ) -> CoalescingCandidate {
        let headerCount = ipCount &+ UDPField.headerCount
        guard packet.count >= headerCount else { return .init(.opaque) }
        let length = Int(packet.bigEndian16(at: ipCount &+ UDPField.length))
        let isMergeable =
            packet.count > headerCount && length == packet.count &- ipCount
            && packet.bigEndian16(at: ipCount &+ UDPField.checksum) != 0
        return .init(
            isMergeable ? .mergeable : .standalone, isIPv4: isIPv4, isTCP: false,
            ipCount: ipCount, headerCount: headerCount)
    }

    /// The offload that a run of such packets needs.
    @inline(__always)
    var offload: CoalescingOffloads {
        isTCP ? (isIPv4 ? .tcp4 : .tcp6) : (isIPv4 ? .udp4 : .udp6)
    }

    /// Meaningful for mergeable packets.
    var gsoType: UInt8 {
        guard isTCP else { return VirtioNetHeader.gsoUDPL4 }
        return isIPv4 ? VirtioNetHeader.gsoTCPv4 : VirtioNetHeader.gsoTCPv6
    }

    /// Meaningful for mergeable and standalone packets.
    @inline(__always)
    func flowHash(_ packet: ByteRegion) -> UInt32 {
        let ports = UInt64(packet.littleEndian32(at: ipCount)) << 1 | (isTCP ? 1 : 0)
        var hash = ports
        if isIPv4 {
            hash = FlowMixer.mix(hash, packet.littleEndian64(at: IPv4Field.source))
        } else {
            hash = FlowMixer.mix(hash, packet.littleEndian64(at: IPv6Field.source))
            hash = FlowMixer.mix(hash, packet.littleEndian64(at: IPv6Field.source &+ 8))
            hash = FlowMixer.mix(hash, packet.littleEndian64(at: IPv6Field.destination))
            hash = FlowMixer.mix(hash, packet.littleEndian64(at: IPv6Field.destination &+ 8))
        }
        return FlowMixer.finish(hash)
    }

    /// Whether every checksum that merging would replace is right.
    @inline(__always)
    func hasValidChecksums(_ packet: ByteRegion) -> Bool {
        if isIPv4, !Checksum.verify(packet.prefix(IPv4Field.headerCountMin)) { return false }
        let initial = Checksum.pseudoHeader(
            addressesOf: packet, isIPv4: isIPv4,
            protocol: isTCP ? IPProtocol.tcp : IPProtocol.udp,
            transportCount: packet.count &- ipCount)
        return Checksum.verify(packet.region(from: ipCount), initial)
    }
}
