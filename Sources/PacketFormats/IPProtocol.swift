/// Protocol numbers that this package looks at.
///
/// Source: IANA, Assigned Internet Protocol Numbers.
public enum IPProtocol {
    @inlinable public static var icmp: UInt8 { 1 }
    @inlinable public static var tcp: UInt8 { 6 }
    @inlinable public static var udp: UInt8 { 17 }
    @inlinable public static var dccp: UInt8 { 33 }
    @inlinable public static var icmpv6: UInt8 { 58 }
    @inlinable public static var noNextHeader: UInt8 { 59 }
    @inlinable public static var sctp: UInt8 { 132 }
    @inlinable public static var udpLite: UInt8 { 136 }
}

/// Where IPv4 and IPv6 keep their fields, as offsets in bytes.
///
/// Source: RFC 791, section 3.1; RFC 8200, section 3.
public enum IPv4Field {
    @inlinable public static var headerCountMin: Int { 20 }
    @inlinable public static var trafficClass: Int { 1 }
    @inlinable public static var totalLength: Int { 2 }
    @inlinable public static var identification: Int { 4 }
    @inlinable public static var fragment: Int { 6 }
    @inlinable public static var timeToLive: Int { 8 }
    @inlinable public static var `protocol`: Int { 9 }
    @inlinable public static var checksum: Int { 10 }
    @inlinable public static var source: Int { 12 }
    @inlinable public static var destination: Int { 16 }
    /// More-fragments flag and fragment offset: zero in a whole packet.
    @inlinable public static var fragmentMask: UInt16 { 0x3fff }
    @inlinable public static var fragmentOffsetMask: UInt16 { 0x1fff }
    @inlinable public static var doNotFragment: UInt16 { 0x4000 }
}

public enum IPv6Field {
    @inlinable public static var headerCount: Int { 40 }
    @inlinable public static var payloadLength: Int { 4 }
    @inlinable public static var nextHeader: Int { 6 }
    @inlinable public static var hopLimit: Int { 7 }
    @inlinable public static var source: Int { 8 }
    @inlinable public static var destination: Int { 24 }
}

/// Source: RFC 9293, section 3.1.
public enum TCPField {
    @inlinable public static var headerCountMin: Int { 20 }
    @inlinable public static var sequence: Int { 4 }
    @inlinable public static var acknowledgment: Int { 8 }
    /// High nibble: header length in 32-bit words.
    @inlinable public static var dataOffset: Int { 12 }
    @inlinable public static var flags: Int { 13 }
    @inlinable public static var window: Int { 14 }
    @inlinable public static var checksum: Int { 16 }
    @inlinable public static var urgentPointer: Int { 18 }

    @inlinable public static var fin: UInt8 { 0x01 }
    @inlinable public static var syn: UInt8 { 0x02 }
    @inlinable public static var rst: UInt8 { 0x04 }
    @inlinable public static var psh: UInt8 { 0x08 }
    @inlinable public static var ack: UInt8 { 0x10 }
    @inlinable public static var cwr: UInt8 { 0x80 }
    /// All flags but those of congestion control and urgent data's push.
    @inlinable public static var stateFlags: UInt8 { fin | syn | rst | ack }
}

/// Source: RFC 768.
public enum UDPField {
    @inlinable public static var headerCount: Int { 8 }
    @inlinable public static var length: Int { 4 }
    @inlinable public static var checksum: Int { 6 }
}
