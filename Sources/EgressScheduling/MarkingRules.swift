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
    /// What is written in the place of a claim beyond a ceiling.
    private let heldMarks: ClassTable<DSCP>
    private let claims: Claims

    /// - Parameters:
    ///   - classMarks: A class without one has the standard mark of managed networks.
    ///   - believedMarks: Classes that somebody reads from code points, whatever these say
    ///     elsewhere; the better of the two is what such a code point claims.
    public init(
        outer: Outer = .off, classMarks: [TrafficClass: DSCP] = [:], marksInner: Bool = false,
        believedMarks: [DSCP: TrafficClass] = [:]
    ) {
        self.outer = outer
        self.marksInner = marksInner
        var marks = ClassTable<DSCP>(repeating: .df)
        for trafficClass in TrafficClass.allCases {
            marks[trafficClass] = classMarks[trafficClass] ?? Self.standardMark(of: trafficClass)
        }
        self.marks = marks
        let claims = Claims { dscp in
            // Default forwarding is on every packet that nobody has marked.
            guard dscp != .df else { return nil }
            let meant = Self.meaning(of: dscp, marks)
            return believedMarks[dscp].map { min($0, meant) } ?? meant
        }
        var heldMarks = marks
        for trafficClass in TrafficClass.allCases {
            // A class's mark may be believed to be a better one's: then none is written.
            guard let claim = claims[marks[trafficClass]], claim < trafficClass else { continue }
            heldMarks[trafficClass] = .df
        }
        self.claims = claims
        self.heldMarks = heldMarks
    }

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
    /// - Complexity: O(1), without an allocation.
    @inline(__always)
    public func clamped(_ dscp: DSCP, to ceiling: TrafficClass) -> DSCP {
        if ceiling == .control { return dscp }
        guard let claim = claims[dscp] else {
            return ceiling == .background ? heldMarks[.background] : dscp
        }
        return claim < ceiling ? heldMarks[ceiling] : dscp
    }

    /// The best class that this code point has here, is believed to be, or would be by RFC 4594;
    /// `nil` for default forwarding.
    public func claim(of dscp: DSCP) -> TrafficClass? { claims[dscp] }

    private static func meaning(of dscp: DSCP, _ marks: ClassTable<DSCP>) -> TrafficClass {
        if let marked = TrafficClass.allCases.first(where: { marks[$0] == dscp }) {
            return marked
        }
        switch dscp.rawValue {
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

/// The class that each code point claims, as bits: a class is three bits wide.
private struct Claims: Sendable, Hashable {
    private var claimed: UInt64 = 0
    private var first: UInt64 = 0
    private var second: UInt64 = 0
    private var third: UInt64 = 0

    init(_ claim: (DSCP) -> TrafficClass?) {
        for value in 0..<64 as Range<UInt8> {
            guard let dscp = DSCP(rawValue: value), let trafficClass = claim(dscp) else {
                continue
            }
            let bit = UInt64(1) << UInt64(value)
            claimed |= bit
            if trafficClass.rawValue & 1 != 0 { first |= bit }
            if trafficClass.rawValue & 2 != 0 { second |= bit }
            if trafficClass.rawValue & 4 != 0 { third |= bit }
        }
    }

    @inline(__always)
    subscript(dscp: DSCP) -> TrafficClass? {
        let shift = UInt64(dscp.rawValue)
        guard claimed >> shift & 1 != 0 else { return nil }
        let value = first >> shift & 1 | (second >> shift & 1) << 1 | (third >> shift & 1) << 2
        return TrafficClass(rawValue: UInt8(truncatingIfNeeded: value))
    }
}
