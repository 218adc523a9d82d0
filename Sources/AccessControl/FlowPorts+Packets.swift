import PacketFormats
import PacketMemory

extension AccessRules.Transport {
    @inline(__always)
    init(_ protocolNumber: UInt8, version: Int) {
        switch protocolNumber {
        case IPProtocol.tcp: self = .tcp
        case IPProtocol.udp: self = .udp
        case IPProtocol.icmp: self = version == 4 ? .icmp : .other
        case IPProtocol.icmpv6: self = version == 6 ? .icmp : .other
        default: self = .other
        }
    }
}

extension FlowPorts {
    /// - Returns: `nil` for a packet whose transport header is cut off where it says what the
    ///   packet is. First fragments carry it whole (RFC 1858, section 3; RFC 8200, section 4.5).
    @inline(__always)
    init?(_ packet: IPPacket, _ transport: AccessRules.Transport) {
        let bytes = packet.transport
        switch transport {
        case .tcp:
            guard bytes.count >= TCPField.headerCountMin else { return nil }
            self.init(tcp: bytes)
        case .udp:
            guard bytes.count >= UDPField.headerCount else { return nil }
            self.init(udp: bytes)
        case .icmp:
            guard bytes.count >= ICMPQuote.headerCount else { return nil }
            self.init(icmp: bytes, version: packet.version)
        case .other: self.init()
        }
    }

    @inline(__always)
    private init(tcp bytes: ByteRegion) {
        let flags = bytes[TCPField.flags]
        source = bytes.bigEndian16(at: 0)
        destination = bytes.bigEndian16(at: 2)
        kind = .tcp
        opens = flags & (TCPField.syn | TCPField.ack) == TCPField.syn
        closes = flags & (TCPField.fin | TCPField.rst) != 0
        continues = flags & (TCPField.syn | TCPField.rst | TCPField.ack) == TCPField.ack
    }

    @inline(__always)
    private init(udp bytes: ByteRegion) {
        source = bytes.bigEndian16(at: 0)
        destination = bytes.bigEndian16(at: 2)
        kind = .udp
    }

    /// A question's identifier stands for both ports. What is neither question nor answer begins
    /// nothing that could be answered.
    ///
    /// Source: RFC 792; RFC 4443, section 4.
    private init(icmp bytes: ByteRegion, version: Int) {
        let type = bytes[0]
        let isAnswer = version == 4 ? type == 0 || type == 14 : type == 129
        let isQuestion = version == 4 ? type == 8 || type == 13 : type == 128
        opens = !isAnswer
        makesState = isAnswer || isQuestion
        guard makesState else { return }
        source = bytes.bigEndian16(at: 4)
        destination = source
    }

    /// The packet as an ICMP error quotes it: eight bytes of its transport.
    init(quoted bytes: ByteRegion, _ transport: AccessRules.Transport, version: Int) {
        self.init()
        switch transport {
        case .tcp, .udp:
            source = bytes.bigEndian16(at: 0)
            destination = bytes.bigEndian16(at: 2)
        case .icmp: self.init(icmp: bytes, version: version)
        case .other: break
        }
    }
}
