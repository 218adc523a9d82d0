public import PacketFormats

/// Which code points packets carry: outside of the tunnel by what the peer's policy says, inside
/// where the policy wants the class to be seen there.
///
/// Sources: RFC 2983, sections 3.1 and 4 (`copy` is the uniform model; `off` and `byClass` are the
/// pipe model, where the outer code point says nothing of the inner one); RFC 4594, figure 3, for
/// what code points mean; RFC 8622 for lower effort. ECN is RFC 6040's, and is only put beside.
public struct MarkingRules: Sendable, Hashable {
    public enum Outer: Sendable, Hashable {
        /// Default forwarding, whatever is inside.
        case off
        /// By the packet's class.
        case byClass
        /// What the inner header has.
        case copy
    }

    public let outer: Outer
    /// Whether ``innerDSCP(of:)`` says anything.
    public let marksInner: Bool
    private let marks: ClassTable<DSCP>

    /// - Parameter classMarks: A class without one has the standard mark of managed networks.
    public init(
        outer: Outer = .off, classMarks: [TrafficClass: DSCP] = [:], marksInner: Bool = false
    ) {
        self.outer = outer
        self.marksInner = marksInner
        var marks = ClassTable<DSCP>(repeating: .df)
        for trafficClass in TrafficClass.allCases {
            marks[trafficClass] = classMarks[trafficClass] ?? Self.standardMark(of: trafficClass)
        }
        self.marks = marks
    }

    public func mark(of trafficClass: TrafficClass) -> DSCP { marks[trafficClass] }

    /// The outer header's traffic class byte.
    ///
    /// - Parameter ecn: What RFC 6040 says for the outer header.
    @inline(__always)
    public func outerTrafficClass(
        inner: DSCP, trafficClass: TrafficClass, ecn: ECN
    ) -> UInt8 {
        let dscp: DSCP =
            switch outer {
            case .off: .df
            case .byClass: marks[trafficClass]
            case .copy: inner
            }
        return dscp.rawValue << 2 | ecn.rawValue
    }

    /// What the inner header's code point is made; `nil` to leave it alone.
    @inline(__always)
    public func innerDSCP(of trafficClass: TrafficClass) -> DSCP? {
        marksInner ? marks[trafficClass] : nil
    }

    /// The code point itself, or the ceiling's where it claims more than the ceiling allows.
    ///
    /// Default forwarding claims nothing; only a ceiling of `background` makes it lower effort.
    public func clamped(_ dscp: DSCP, to ceiling: TrafficClass) -> DSCP {
        if ceiling == .control { return dscp }
        guard let claim = claim(of: dscp) else {
            return ceiling == .background ? marks[.background] : dscp
        }
        return claim < ceiling ? marks[ceiling] : dscp
    }

    /// The best class that has this mark here, or what RFC 4594 would have it be; `nil` for
    /// default forwarding.
    public func claim(of dscp: DSCP) -> TrafficClass? {
        if let marked = TrafficClass.allCases.first(where: { marks[$0] == dscp && dscp != .df }) {
            return marked
        }
        switch dscp.rawValue {
        case 0: return nil
        // CS6, CS7 and what routers may read as them (RFC 2474, section 4.2.2.2).
        case 48...63: return .control
        // Lower effort, and CS1 that RFC 3662 had for it.
        case 1, 8: return .background
        case 10: return .prompt
        case 12, 14: return .bulk
        case 24, 26, 28, 30: return .activation
        // EF, VOICE-ADMIT, CS5, AF4x, CS4, AF2x, CS2, and code points of which nothing is known.
        default: return .token
        }
    }

    /// In managed networks.
    public static func standardMark(of trafficClass: TrafficClass) -> DSCP {
        switch trafficClass {
        case .control: .cs6
        case .token: .af21
        case .activation: .af31
        case .prompt: .af11
        case .bulk: .af12
        case .background: .le
        }
    }
}
