import Synchronization

/// A rate that several threads share: a token bucket kept as the one time at which it will be full.
///
/// The generic cell rate algorithm, in sixteenths of a nanosecond so that a small packet at
/// hundreds of gigabits per second still costs something.
///
/// Source: ITU-T I.371, annex A (virtual scheduling).
public final class RateMeter: Sendable {
    /// When the bucket is full again, in ticks of the monotonic clock.
    private let fullAt = Atomic<UInt64>(0)
    /// A unit is a byte or a packet and costs `numerator / rate` ticks.
    private let numerator: UInt64
    private let rate: UInt64
    /// What may be taken at once from a full bucket, in ticks.
    private let burst: UInt64

    /// Units are bytes.
    ///
    /// - Parameter bitsPerSecond: At least 1.
    public convenience init(bitsPerSecond: Int64, burst: RateBurst = .shaping) {
        self.init(
            rate: bitsPerSecond, numerator: 8 * Self.ticksPerSecond,
            burstNanoseconds: burst.nanoseconds, burstMin: burst.bytesMin)
    }

    /// Units are packets.
    ///
    /// - Parameter packetsPerSecond: At least 1.
    public convenience init(packetsPerSecond: Int64, burst: RateBurst = .shaping) {
        self.init(
            rate: packetsPerSecond, numerator: Self.ticksPerSecond,
            burstNanoseconds: burst.nanoseconds,
            burstMin: TenantMeters.packetCount(byteCount: burst.bytesMin))
    }

    private init(rate: Int64, numerator: UInt64, burstNanoseconds: UInt64, burstMin: Int) {
        self.rate = UInt64(max(rate, 1))
        self.numerator = numerator
        burst = max(
            burstNanoseconds << Self.tickBits,
            UInt64(burstMin) &* numerator / self.rate)
    }

    /// Takes `count` bytes or packets if they are there.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Returns: `false`, with nothing changed, if the rate does not allow them yet.
    /// - Complexity: O(1), one compare-and-exchange unless threads collide.
    public func take(_ count: Int, now: UInt64) -> Bool {
        let price = price(count)
        // What is larger than the bucket passes when the bucket is full, and is paid afterwards.
        let needed = min(price, burst)
        let present = now &<< Self.tickBits
        var full = fullAt.load(ordering: .relaxed)
        while true {
            let start = max(full, present)
            guard start &- present &+ needed <= burst else { return false }
            let attempt = fullAt.weakCompareExchange(
                expected: full, desired: start &+ price, ordering: .relaxed)
            if attempt.exchanged { return true }
            full = attempt.original
        }
    }

    /// Takes `count` bytes or packets whether they are there or not; what is owed is at most one
    /// burst.
    public func charge(_ count: Int, now: UInt64) {
        let price = price(count)
        let present = now &<< Self.tickBits
        var full = fullAt.load(ordering: .relaxed)
        while true {
            let start = max(full, present)
            let end = max(start, min(start &+ price, present &+ 2 &* burst))
            let attempt = fullAt.weakCompareExchange(
                expected: full, desired: end, ordering: .relaxed)
            if attempt.exchanged { return }
            full = attempt.original
        }
    }

    /// Returns what was taken for something that then did not happen.
    public func giveBack(_ count: Int) {
        let price = price(count)
        var full = fullAt.load(ordering: .relaxed)
        while true {
            let attempt = fullAt.weakCompareExchange(
                expected: full, desired: full &- min(price, full), ordering: .relaxed)
            if attempt.exchanged { return }
            full = attempt.original
        }
    }

    /// When `count` bytes or packets will be there if nobody takes any before.
    ///
    /// - Returns: Monotonic nanoseconds; in the past if they are there now.
    public func nextTime(_ count: Int) -> UInt64 {
        let enough = fullAt.load(ordering: .relaxed) &+ min(price(count), burst)
        guard enough > burst else { return 0 }
        let roundedUp = enough &- burst &+ (1 &<< Self.tickBits &- 1)
        return roundedUp &>> Self.tickBits
    }

    /// In ticks; below 2^62.
    @inline(__always)
    private func price(_ count: Int) -> UInt64 {
        UInt64(max(0, min(count, Self.unitsMax))) &* numerator / rate
    }

    private static let tickBits: UInt64 = 4
    private static let ticksPerSecond: UInt64 = 1_000_000_000 << tickBits
    /// No frame is larger: with the numerator of bytes, 2^37, the product has 61 bits.
    private static let unitsMax = 1 << 24
}

/// What may pass at once after a pause.
public struct RateBurst: Hashable, Sendable {
    /// As time at the full rate.
    public let nanoseconds: UInt64
    /// At least this much.
    public let bytesMin: Int

    /// For what waits for its turn: one frame of a TUN device with segmentation offload.
    public static let shaping = RateBurst(nanoseconds: 20_000_000, bytesMin: 1 << 16)
    /// For what is dropped beyond the rate: TCP keeps to a rate whose bucket holds the window that
    /// it sends in a round trip, also while it is growing.
    public static let policing = RateBurst(nanoseconds: 200_000_000, bytesMin: 1 << 19)
}

extension RateMeter {
    /// ``take(_:now:)``, for a meter of bytes.
    @inline(__always)
    public func take(byteCount: Int, now: UInt64) -> Bool { take(byteCount, now: now) }

    /// ``nextTime(_:)``, for a meter of bytes.
    @inline(__always)
    public func nextTime(byteCount: Int) -> UInt64 { nextTime(byteCount) }
}
