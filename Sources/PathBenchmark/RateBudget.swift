/// Holds a transfer to a rate, by saying how long to wait after each piece.
public struct RateBudget: Sendable {
    private let bitsPerSecond: Double
    /// When what was taken so far would have been paid for.
    private var paidNanoseconds: Double

    /// - Parameters:
    ///   - bitsPerSecond: `nil` for no limit.
    ///   - now: In nanoseconds of the caller's clock.
    public init(bitsPerSecond: Int64?, now: UInt64) {
        self.bitsPerSecond = bitsPerSecond.map { max(Double($0), 1) } ?? .infinity
        paidNanoseconds = Double(now)
    }

    /// Takes a piece.
    ///
    /// - Returns: How long to wait before the next, in nanoseconds. Time that went by unused is
    ///   saved for ``burstNanoseconds`` at most.
    public mutating func take(_ byteCount: Int, now: UInt64) -> UInt64 {
        let now = Double(now)
        paidNanoseconds =
            max(paidNanoseconds, now - Self.burstNanoseconds)
            + Double(byteCount) * 8e9 / bitsPerSecond
        return paidNanoseconds > now ? UInt64(min(paidNanoseconds - now, 1e12)) : 0
    }

    /// What may be taken at once, so that waits stay short at any rate.
    ///
    /// - Parameter streamCount: How many share the budget.
    /// - Returns: At least 1 byte, at most `byteCountMax`.
    public func pieceByteCount(streamCount: Int, atMost byteCountMax: Int) -> Int {
        let share = bitsPerSecond / 8 * Self.pieceSeconds / Double(max(streamCount, 1))
        return share < Double(byteCountMax) ? max(Int(share), 1) : byteCountMax
    }

    private static let burstNanoseconds = 2e6
    private static let pieceSeconds = 0.01
}
