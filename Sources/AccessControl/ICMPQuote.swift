import PacketFormats
import PacketMemory

/// The packet that an ICMP error speaks of, as far as it is quoted.
///
/// Source: RFC 792; RFC 4443, section 2.4(c).
struct ICMPQuote {
    let addresses: FlowAddresses
    let protocolNumber: UInt8
    let transport: AccessRules.Transport
    let ports: FlowPorts

    static let headerCount = 8
    /// What every error quotes of the transport.
    private static let transportCountMin = 8

    /// Whether the packet reports an error. Redirects are none: they steer, and answer nothing.
    ///
    /// - Parameter packet: One with at least a byte of ICMP.
    static func isError(_ packet: IPPacket) -> Bool {
        let type = packet.transport[0]
        return packet.version == 4
            ? type == 3 || type == 11 || type == 12 : (1...4).contains(type)
    }

    /// - Parameter packet: An error.
    /// - Returns: `nil` unless it quotes the beginning of a packet that its receiver sent.
    init?(in packet: IPPacket) {
        let quoted = packet.transport.region(from: Self.headerCount)
        let isIPv4 = packet.version == 4
        guard quoted.count > 0, quoted[0] >> 4 == UInt8(packet.version),
            let (offset, number) = isIPv4 ? Self.ipv4(quoted) : Self.ipv6(quoted),
            quoted.count - offset >= Self.transportCountMin
        else { return nil }
        addresses = FlowAddresses(quoted: quoted, isIPv4: isIPv4)
        let outer = FlowAddresses(of: packet)
        guard addresses.sourceLow == outer.destinationLow,
            addresses.sourceHigh == outer.destinationHigh
        else { return nil }
        protocolNumber = number
        transport = AccessRules.Transport(number, version: packet.version)
        ports = FlowPorts(
            quoted: quoted.region(from: offset), transport, version: packet.version)
    }

    /// - Returns: Where the transport begins and what it is.
    private static func ipv4(_ quoted: ByteRegion) -> (Int, UInt8)? {
        guard quoted.count >= IPv4Field.headerCountMin else { return nil }
        let header = Int(quoted[0] & 0x0f) * 4
        let fragment = quoted.bigEndian16(at: IPv4Field.fragment)
        guard header >= IPv4Field.headerCountMin, header <= quoted.count,
            fragment & IPv4Field.fragmentOffsetMask == 0
        else { return nil }
        return (header, quoted[IPv4Field.protocol])
    }

    /// Follows no extension header but that of a first fragment.
    private static func ipv6(_ quoted: ByteRegion) -> (Int, UInt8)? {
        guard quoted.count >= IPv6Field.headerCount else { return nil }
        let next = quoted[IPv6Field.nextHeader]
        guard next == fragmentHeader else { return (IPv6Field.headerCount, next) }
        let offset = IPv6Field.headerCount
        guard quoted.count >= offset + fragmentHeaderCount,
            quoted.bigEndian16(at: offset + 2) & 0xfff8 == 0
        else { return nil }
        return (offset + fragmentHeaderCount, quoted[offset])
    }

    private static let fragmentHeader: UInt8 = 44
    private static let fragmentHeaderCount = 8
}
