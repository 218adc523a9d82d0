import Synchronization

/// What a tenant may send before its traffic goes behind all other, shared by workers.
///
/// A bucket of bytes and one of tokens, full at the start, that fill steadily: after the period all
/// of it is there again. Nothing is ever refused. What is sent while a bucket is empty is not owed
/// later; who has emptied one is over the budget until a hundredth of it is back.
public final class TenantBudget: Sendable {
    private let bytes: Allowance?
    private let tokens: Allowance?

    /// - Parameter bytes: `nil` without a limit; less than 1 is 1.
    /// - Parameter tokens: Likewise.
    /// - Parameter perSeconds: 1 to 366 days; what is out of range is clamped.
    public init(bytes: Int64?, tokens: Int64?, perSeconds: Int) {
        let seconds = max(1, min(perSeconds, 366 * 86_400))
        self.bytes = bytes.map { Allowance(count: $0, seconds: seconds) }
        self.tokens = tokens.map { Allowance(count: $0, seconds: seconds) }
    }

    /// - Parameter now: Monotonic nanoseconds, below 2^59.
    /// - Complexity: O(1), one compare-and-exchange a bucket unless threads collide.
    public func spend(bytes byteCount: Int, tokens tokenCount: Int = 0, now: UInt64) {
        if byteCount > 0 { bytes?.spend(byteCount, now: now) }
        if tokenCount > 0 { tokens?.spend(tokenCount, now: now) }
    }

    public func isExceeded(now: UInt64) -> Bool {
        // Both are asked, so that both take note of the time.
        let isOutOfBytes = bytes?.isExceeded(now: now) ?? false
        let isOutOfTokens = tokens?.isExceeded(now: now) ?? false
        return isOutOfBytes || isOutOfTokens
    }

    /// What is left, as a part of the whole, of the bucket that has less: 0...1.
    public func remaining(now: UInt64) -> Double {
        min(bytes?.remaining(now: now) ?? 1, tokens?.remaining(now: now) ?? 1)
    }
}

/// One bucket, kept as the time at which it will be full, in sixteenths of a nanosecond.
private final class Allowance: Sendable {
    private let fullAt = Atomic<UInt64>(0)
    private let isSpent = Atomic<Bool>(false)
    /// How long the empty bucket takes to fill.
    private let period: UInt64
    private let ticksPerUnit: Double

    init(count: Int64, seconds: Int) {
        period = UInt64(seconds) * 1_000_000_000 << Self.tickBits
        ticksPerUnit = Double(period) / Double(max(count, 1))
    }

    func spend(_ count: Int, now: UInt64) {
        let price = UInt64(min(Double(count) * ticksPerUnit, Double(period)))
        let present = now &<< Self.tickBits
        var full = fullAt.load(ordering: .relaxed)
        while true {
            let end = min(max(full, present) &+ price, present &+ period)
            let attempt = fullAt.weakCompareExchange(
                expected: full, desired: max(full, end), ordering: .relaxed)
            if attempt.exchanged { break }
            full = attempt.original
        }
        // Prices are rounded: almost empty is empty.
        if missing(now) >= period &- period / 10_000 { isSpent.store(true, ordering: .relaxed) }
    }

    func isExceeded(now: UInt64) -> Bool {
        guard isSpent.load(ordering: .relaxed) else { return false }
        if missing(now) >= period / 100 * 99 { return true }
        isSpent.store(false, ordering: .relaxed)
        return false
    }

    func remaining(now: UInt64) -> Double { 1 - Double(missing(now)) / Double(period) }

    private func missing(_ now: UInt64) -> UInt64 {
        let present = now &<< Self.tickBits
        let full = fullAt.load(ordering: .relaxed)
        return full > present ? min(full &- present, period) : 0
    }

    private static let tickBits: UInt64 = 4
}
