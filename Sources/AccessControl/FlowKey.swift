import PacketFormats
import PacketMemory

/// What tells a connection from others, and what one packet does to it.
struct FlowKey {
    /// The same for both directions.
    let hash: UInt64
    /// Whether the packet comes from the lower of the two ends.
    let isFromLow: Bool
    let kind: Kind
    /// It begins something, and cannot be an answer.
    let opens: Bool
    let closes: Bool
    /// It belongs to a connection that both ends know of.
    let continues: Bool

    enum Kind: UInt64 {
        case tcp = 0
        case udp = 0x20
        case other = 0x40
        case fragment = 0x60
    }

    /// Set in the entry of a connection that this packet's sender may open.
    @inline(__always)
    var openerFlag: UInt64 { isFromLow ? StateEntry.openedByLow : StateEntry.openedByHigh }
    /// Set in the entry of a connection that this packet's receiver may open.
    @inline(__always)
    var answeredFlag: UInt64 { isFromLow ? StateEntry.openedByHigh : StateEntry.openedByLow }
}

/// The transport's part of a packet's key.
struct FlowPorts {
    var source: UInt16 = 0
    var destination: UInt16 = 0
    var kind = FlowKey.Kind.other
    var opens = false
    var closes = false
    var continues = false
    /// Others may answer it, or it is an answer.
    var makesState = true

    init() {}
}

extension FlowKey {
    /// - Parameter addresses: Those of the packet.
    @inline(__always)
    init(
        _ addresses: FlowAddresses, _ protocolNumber: UInt8, _ ports: FlowPorts,
        key: AccessState.Key
    ) {
        var sip = SipHash((key.first, key.second))
        let isFromLow = addresses.isSourceLower(ports.source, ports.destination)
        addresses.add(to: &sip, isFromLow: isFromLow)
        let low = isFromLow ? ports.source : ports.destination
        let high = isFromLow ? ports.destination : ports.source
        sip.add(
            UInt64(low) << 48 | UInt64(high) << 32 | UInt64(protocolNumber) << 8
                | addresses.familyBits)
        self.init(
            hash: sip.finish(), isFromLow: isFromLow, kind: ports.kind, opens: ports.opens,
            closes: ports.closes, continues: ports.continues)
    }

    /// The pieces of one packet: these have a direction.
    init(fragmentOf packet: IPPacket, key: AccessState.Key) {
        var sip = SipHash((key.first, key.second))
        let addresses = FlowAddresses(of: packet)
        addresses.add(to: &sip, isFromLow: true)
        // In IPv6 the identification alone tells packets apart (RFC 8200, section 4.5).
        let number = addresses.isIPv4 ? UInt64(packet.protocol) << 8 : 0
        let identification = UInt64(packet.fragmentIdentification)
        sip.add(identification << 32 | number | addresses.familyBits | Self.fragmentBit)
        self.init(
            hash: sip.finish(), isFromLow: true, kind: .fragment, opens: false, closes: false,
            continues: false)
    }

    private static var fragmentBit: UInt64 { 1 << 16 }
}

/// Source and destination of a packet or of one that an ICMP error quotes.
struct FlowAddresses {
    let sourceHigh: UInt64
    let sourceLow: UInt64
    let destinationHigh: UInt64
    let destinationLow: UInt64
    let isIPv4: Bool

    @inline(__always)
    init(of packet: IPPacket) {
        self.init(quoted: packet.region, isIPv4: packet.version == 4)
    }

    /// - Parameter header: At least the fixed part of an IP header of this version.
    @inline(__always)
    init(quoted header: ByteRegion, isIPv4: Bool) {
        self.isIPv4 = isIPv4
        if isIPv4 {
            sourceHigh = 0
            sourceLow = UInt64(header.bigEndian32(at: IPv4Field.source))
            destinationHigh = 0
            destinationLow = UInt64(header.bigEndian32(at: IPv4Field.destination))
        } else {
            sourceHigh = header.bigEndian64(at: IPv6Field.source)
            sourceLow = header.bigEndian64(at: IPv6Field.source &+ 8)
            destinationHigh = header.bigEndian64(at: IPv6Field.destination)
            destinationLow = header.bigEndian64(at: IPv6Field.destination &+ 8)
        }
    }

    @inline(__always)
    var familyBits: UInt64 { isIPv4 ? 4 : 6 }

    @inline(__always)
    func isSourceLower(_ sourcePort: UInt16, _ destinationPort: UInt16) -> Bool {
        if sourceHigh != destinationHigh { return sourceHigh < destinationHigh }
        if sourceLow != destinationLow { return sourceLow < destinationLow }
        return sourcePort <= destinationPort
    }

    @inline(__always)
    func add(to sip: inout SipHash, isFromLow: Bool) {
        if isIPv4 {
            sip.add(
                isFromLow
                    ? sourceLow << 32 | destinationLow : destinationLow << 32 | sourceLow)
        } else {
            sip.add(isFromLow ? sourceHigh : destinationHigh)
            sip.add(isFromLow ? sourceLow : destinationLow)
            sip.add(isFromLow ? destinationHigh : sourceHigh)
            sip.add(isFromLow ? destinationLow : sourceLow)
        }
    }
}
