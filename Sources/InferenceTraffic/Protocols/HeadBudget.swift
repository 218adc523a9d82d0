/// What may be read of a connection's heads, byte by byte, in a second.
///
/// A chunk's size and a frame's header count as one byte: they cost about as much. What cannot be
/// paid for is not read; sizes and times then tell what there is to tell.
struct HeadBudget {
    private var spent: UInt32 = 0
    private var nanoseconds: UInt64 = 0

    /// What time gives back is reckoned when it is needed, so after silence there may be twice the
    /// burst.
    /// - Returns: `false` if there was nothing left.
    @inline(__always)
    mutating func take(now: UInt64) -> Bool {
        spent &+= 1
        return spent <= ScanLimits.headBurstBytes || refill(now: now)
    }

    @inline(never)
    private mutating func refill(now: UInt64) -> Bool {
        guard now > nanoseconds else { return false }
        let elapsed = min(now &- nanoseconds, Self.refillNanosecondsMax)
        let earned = UInt32(elapsed &* ScanLimits.headBytesPerSecond / 1_000_000_000)
        guard earned > 0 else { return false }
        nanoseconds = now
        spent = spent > earned ? spent &- earned : 0
        return true
    }

    private static let refillNanosecondsMax: UInt64 = 10_000_000_000
}
