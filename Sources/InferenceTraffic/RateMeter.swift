/// How far a sender is ahead of a rate: a bucket that leaks.
struct RateMeter {
    private var aheadBytes: UInt32 = 0
    private var nanoseconds: UInt64 = 0

    /// Counts what was sent.
    ///
    /// - Parameter burst: What may be ahead of the rate of tokens, in bytes.
    /// - Returns: Whether it is within that.
    mutating func take(_ byteCount: Int, burst: UInt32, now: UInt64) -> Bool {
        let left = Self.left(of: aheadBytes, since: nanoseconds, now: now)
        // Twice the burst: who stops to send too much is within it again before long.
        aheadBytes = UInt32(min(left + UInt64(byteCount), UInt64(burst) * 2))
        nanoseconds = now
        return aheadBytes <= burst
    }

    /// What has not leaked yet, at the rate of tokens.
    @inline(__always)
    static func left(of aheadBytes: UInt32, since: UInt64, now: UInt64) -> UInt64 {
        let elapsed = min(now &- since, leakNanosecondsMax)
        let leaked = elapsed &* FlowLimits.tokenBytesPerSecond / FlowLimits.second
        return UInt64(aheadBytes) > leaked ? UInt64(aheadBytes) - leaked : 0
    }

    /// Every bucket here is empty after that.
    private static let leakNanosecondsMax = 60 * FlowLimits.second
}
