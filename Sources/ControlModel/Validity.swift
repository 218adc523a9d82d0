/// From when until when a statement counts, in Unix seconds.
public struct Validity: Hashable, Sendable {
    /// The first second that counts: `nbf`.
    public let from: Int64
    /// The first second that does not count any more: `exp`. RFC 7519, section 4.1.4.
    public let until: Int64

    /// - Returns: `nil` unless `0 <= from < until` and both lie before the year 10000.
    public init?(from: Int64, until: Int64) {
        guard from >= 0, from < until, until <= TrustLimits.timeMax else { return nil }
        self.from = from
        self.until = until
    }

    public var seconds: Int64 { until - from }

    /// Whether this counts now, and not for longer than its kind may.
    ///
    /// - Parameter skewSeconds: How far two clocks may be apart, 0 to 600; so nothing overflows.
    func check(
        _ what: String, at now: Int64, skewSeconds: Int64, secondsMax: Int64
    ) throws(Refusal) {
        try checkBegun(what, at: now, skewSeconds: skewSeconds, secondsMax: secondsMax)
        guard now < until + skewSeconds else {
            throw Refusal(.expired, "\(what) counted until \(until), it is \(now)")
        }
    }

    /// As `check`, but it may be over.
    func checkBegun(
        _ what: String, at now: Int64, skewSeconds: Int64, secondsMax: Int64
    ) throws(Refusal) {
        guard seconds <= secondsMax else {
            throw Refusal(.validityTooLong, "\(what): \(seconds) s, at most \(secondsMax)")
        }
        guard now >= from - skewSeconds else {
            throw Refusal(.notYetValid, "\(what) counts from \(from), it is \(now)")
        }
    }
}

extension Validity {
    init(nbf: Int64, exp: Int64) throws(Refusal) {
        let validity = Validity(from: nbf, until: exp)
        self = try Claim.valid(validity, "exp")
    }
}
