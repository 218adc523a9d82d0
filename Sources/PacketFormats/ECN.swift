/// The two ECN bits of an IP header, and what a tunnel does with them.
///
/// Source: RFC 3168, section 5; RFC 6040.
public enum ECN: UInt8, CaseIterable, Sendable {
    /// The sender does not react to congestion marks.
    case notECT = 0
    case ect1 = 1
    case ect0 = 2
    /// Congestion experienced.
    case ce = 3

    /// - Parameter trafficClass: IPv4's type of service or IPv6's traffic class.
    @inlinable
    public init(trafficClass: UInt8) {
        switch trafficClass & 3 {
        case 0: self = .notECT
        case 1: self = .ect1
        case 2: self = .ect0
        default: self = .ce
        }
    }

    /// How the tunnel's entrance fills the outer header's field (RFC 6040, figure 3).
    public enum IngressMode: Sendable {
        /// The far end is known to decapsulate by RFC 6040: the field is copied.
        case normal
        /// Nothing is known of the far end: the outer header never claims ECN.
        case compatibility
    }

    @inlinable
    public static func outer(forInner inner: ECN, mode: IngressMode = .normal) -> ECN {
        switch mode {
        case .normal: inner
        case .compatibility: .notECT
        }
    }

    /// What the tunnel's exit does to the inner packet.
    public enum Decapsulation: Equatable, Sendable {
        case keep
        case set(ECN)
        /// The path marked congestion on a packet whose sender would not see the mark.
        case drop
    }

    /// RFC 6040, figure 4.
    @inlinable
    public static func decapsulate(inner: ECN, outer: ECN) -> Decapsulation {
        switch (inner, outer) {
        case (.notECT, .ce): .drop
        case (.ect0, .ce), (.ect1, .ce): .set(.ce)
        case (.ect0, .ect1): .set(.ect1)
        case (.notECT, _), (.ect0, _), (.ect1, _), (.ce, _): .keep
        }
    }
}
