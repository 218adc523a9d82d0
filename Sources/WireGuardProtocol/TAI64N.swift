import PacketMemory

/// A moment as initiations carry it: each greater than the one before, for one sender.
///
/// Source: WireGuard paper, section 5.4.2; https://cr.yp.to/libtai/tai64.html.
struct TAI64N: Comparable, Sendable {
    /// 2^62 plus seconds of atomic time since 1970.
    var seconds: UInt64 = 0
    var nanoseconds: UInt32 = 0

    /// Before every moment that a clock can tell.
    init() {}

    /// Rounds down, so that an observer learns little of the sender's clock.
    init(_ wallClock: WallClock) {
        // Atomic time was 10 seconds ahead in 1970; leap seconds since then do not matter here.
        seconds = UInt64(bitPattern: wallClock.seconds) &+ Self.label &+ 10
        let step = ImplementationLimits.timestampStepNanoseconds
        nanoseconds = min(wallClock.nanoseconds, 999_999_999) & ~(step - 1)
    }

    init(reading region: ByteRegion) {
        seconds = region.bigEndian64(at: 0)
        nanoseconds = region.bigEndian32(at: 8)
    }

    func write(to region: ByteRegion) {
        region.storeBigEndian(seconds, at: 0)
        region.storeBigEndian(nanoseconds, at: 8)
    }

    /// The next moment that an initiation may carry.
    var successor: TAI64N {
        var next = self
        next.nanoseconds &+= ImplementationLimits.timestampStepNanoseconds
        if next.nanoseconds > 999_999_999 {
            next.nanoseconds = 0
            next.seconds &+= 1
        }
        return next
    }

    static func < (left: TAI64N, right: TAI64N) -> Bool {
        left.seconds != right.seconds
            ? left.seconds < right.seconds : left.nanoseconds < right.nanoseconds
    }

    static let count = 12
    private static let label: UInt64 = 1 << 62
}
