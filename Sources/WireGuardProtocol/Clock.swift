/// Seconds and nanoseconds since 1970, as the system's real-time clock says them.
public struct WallClock: Hashable, Sendable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

/// Arithmetic of monotonic nanoseconds that no clock, however wrong, can make trap.
enum MonotonicTime {
    /// Nanoseconds from `earlier` to `later`; 0 if the clock went backwards.
    @inlinable @inline(__always)
    static func elapsed(from earlier: UInt64, to later: UInt64) -> UInt64 {
        later > earlier ? later &- earlier : 0
    }

    /// `time` plus `interval`, at most the end of time.
    @inlinable @inline(__always)
    static func adding(_ interval: UInt64, to time: UInt64) -> UInt64 {
        let (sum, overflow) = time.addingReportingOverflow(interval)
        return overflow ? .max : sum
    }
}
