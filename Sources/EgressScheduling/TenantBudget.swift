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

    /// What is spent of each bucket, for whoever takes over: see ``spend(missing:now:)``.
    ///
    /// - Parameter now: Monotonic nanoseconds, below 2^59.
    /// - Returns: Parts of the whole, 0...1; 0 without a limit.
    public func missing(now: UInt64) -> (bytes: Double, tokens: Double) {
        (bytes?.missingPart(now: now) ?? 0, tokens?.missingPart(now: now) ?? 0)
    }

    /// Takes over what a predecessor had spent, on top of what is spent here.
    ///
    /// Whoever was over its budget still is: with less than a hundredth left, a bucket counts as
    /// emptied, since it can't be seen whether it was.
    ///
    /// - Parameter parts: Of the whole, as ``missing(now:)`` has them; what is out of range is
    ///   clamped, and what is no number is 0.
    /// - Parameter now: Monotonic nanoseconds, below 2^59.
    public func spend(missing parts: (bytes: Double, tokens: Double), now: UInt64) {
        bytes?.spend(part: parts.bytes, now: now)
        tokens?.spend(part: parts.tokens, now: now)
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
        take(UInt64(min(Double(count) * ticksPerUnit, Double(period))), now)
        // Prices are rounded: almost empty is empty.
        if missing(now) >= period &- period / 10_000 { isSpent.store(true, ordering: .relaxed) }
    }

    func spend(part: Double, now: UInt64) {
        guard part > 0 else { return }
        take(UInt64(min(part, 1) * Double(period)), now)
        if missing(now) > period / 100 * 99 { isSpent.store(true, ordering: .relaxed) }
    }

    private func take(_ price: UInt64, _ now: UInt64) {
        let present = now &<< Self.tickBits
        var full = fullAt.load(ordering: .relaxed)
        while true {
            let end = min(max(full, present) &+ price, present &+ period)
            let attempt = fullAt.weakCompareExchange(
                expected: full, desired: max(full, end), ordering: .relaxed)
            if attempt.exchanged { return }
            full = attempt.original
        }
    }

    func isExceeded(now: UInt64) -> Bool {
        guard isSpent.load(ordering: .relaxed) else { return false }
        if missing(now) >= period / 100 * 99 { return true }
        isSpent.store(false, ordering: .relaxed)
        return false
    }

    func missingPart(now: UInt64) -> Double { Double(missing(now)) / Double(period) }

    private func missing(_ now: UInt64) -> UInt64 {
        let present = now &<< Self.tickBits
        let full = fullAt.load(ordering: .relaxed)
        return full > present ? min(full &- present, period) : 0
    }

    private static let tickBits: UInt64 = 4
}
