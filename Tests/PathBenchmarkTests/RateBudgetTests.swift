import Testing

@testable import PathBenchmark

@Suite struct RateBudgetTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func withoutLimitNothingWaits() {
        var budget = RateBudget(bitsPerSecond: nil, now: 0)
        let waits = (0..<1000).map { _ in budget.take(1 << 30, now: 0) }
        #expect(waits.allSatisfy { $0 == 0 })
        #expect(budget.pieceByteCount(streamCount: 16, atMost: 131_072) == 131_072)
    }

    @Test(arguments: [Int64(100_000), 8_000_000, 10_000_000_000])
    func theRateIsKept(rate: Int64) {
        var budget = RateBudget(bitsPerSecond: rate, now: 5 * Self.second)
        let piece = budget.pieceByteCount(streamCount: 1, atMost: 131_072)
        var now = 5 * Self.second
        var taken = 0
        while now < 15 * Self.second {
            taken += piece
            now += budget.take(piece, now: now)
        }
        let expected = Double(rate) / 8 * 10
        #expect(abs(Double(taken) - expected) <= expected * 0.01 + Double(piece))
    }

    @Test func unusedTimeIsHardlySaved() {
        var budget = RateBudget(bitsPerSecond: 8_000_000, now: 0)
        // A megabyte is a second's worth; 2 ms of the hour before are left.
        let wait = budget.take(1_000_000, now: 3600 * Self.second)
        #expect(wait == 998_000_000)
    }

    @Test func piecesAreShortAndNeverEmpty() {
        let budget = RateBudget(bitsPerSecond: 8_000_000, now: 0)
        #expect(budget.pieceByteCount(streamCount: 1, atMost: 131_072) == 10_000)
        #expect(budget.pieceByteCount(streamCount: 10, atMost: 131_072) == 1_000)
        let slow = RateBudget(bitsPerSecond: 0, now: 0)
        #expect(slow.pieceByteCount(streamCount: 0, atMost: 131_072) == 1)
    }

    @Test func waitsEndWhateverIsAsked() {
        var budget = RateBudget(bitsPerSecond: 1, now: 0)
        let wait = budget.take(.max, now: 0)
        #expect(wait == 1_000_000_000_000)
    }
}
