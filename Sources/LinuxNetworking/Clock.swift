import Glibc

/// The kernel's clocks, in nanoseconds.
public enum Clock {
    /// Time since boot, counting sleep, so that keys grow old while a laptop is closed; for
    /// deadlines and durations. clock_gettime
    public static func monotonicNanoseconds() -> UInt64 {
        nanoseconds(of: CLOCK_BOOTTIME)
    }

    /// Time since 1970-01-01 UTC; for comparing with the arrival times of datagrams. clock_gettime
    public static func realtimeNanoseconds() -> UInt64 {
        nanoseconds(of: CLOCK_REALTIME)
    }

    /// Time since 1970-01-01 UTC, split as TAI64N labels and the UAPI want it. clock_gettime
    public static func wallClock() -> (seconds: UInt64, nanoseconds: UInt32) {
        let now = realtimeNanoseconds()
        return (now / 1_000_000_000, UInt32(now % 1_000_000_000))
    }

    private static func nanoseconds(of clock: clockid_t) -> UInt64 {
        var now = timespec()
        // Cannot fail: the clock exists on every Linux and the address is valid.
        _ = unsafe clock_gettime(clock, &now)
        return UInt64(clamping: now.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: now.tv_nsec)
    }
}
