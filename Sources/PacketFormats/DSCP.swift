/// A differentiated services code point: the upper six bits of an IP header's traffic class.
///
/// Source: RFC 2474, section 3.
public struct DSCP: RawRepresentable, Hashable, Sendable {
    /// 0 to 63.
    public let rawValue: UInt8

    @inlinable
    public init?(rawValue: UInt8) {
        guard rawValue < 64 else { return nil }
        self.rawValue = rawValue
    }

    /// - Parameter trafficClass: IPv4's type of service or IPv6's traffic class.
    @inlinable
    public init(trafficClass: UInt8) { rawValue = trafficClass >> 2 }

    @usableFromInline
    init(_ rawValue: UInt8) { self.rawValue = rawValue & 63 }

    /// Default forwarding (RFC 2474, section 4.1).
    public static var df: DSCP { DSCP(0) }
    /// Network control (RFC 4594, section 3.1).
    public static var cs6: DSCP { DSCP(48) }
    /// Low-latency data (RFC 4594, section 4.7).
    public static var af21: DSCP { DSCP(18) }
    /// Multimedia streaming (RFC 4594, section 4.6).
    public static var af31: DSCP { DSCP(26) }
    /// High-throughput data, two drop precedences (RFC 4594, section 4.8).
    public static var af11: DSCP { DSCP(10) }
    public static var af12: DSCP { DSCP(12) }
    /// Lower effort (RFC 8622).
    public static var le: DSCP { DSCP(1) }
}

extension IPPacket {
    /// Setting it keeps ECN.
    @inlinable public var dscp: DSCP {
        get { DSCP(trafficClass: trafficClass) }
        nonmutating set { trafficClass = trafficClass & 3 | newValue.rawValue << 2 }
    }
}
