import EgressScheduling
import Testing

@Suite struct TenantBudgetTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func theWholeBudgetIsThereAtTheStart() {
        let budget = TenantBudget(bytes: 1_000_000, tokens: nil, perSeconds: 100)
        for _ in 0..<999 { budget.spend(bytes: 1_000, now: Self.second) }
        #expect(!budget.isExceeded(now: Self.second))
        budget.spend(bytes: 1_000, now: Self.second)
        #expect(budget.isExceeded(now: Self.second))
        #expect(budget.missing(now: Self.second).bytes > 0.999)
    }

    @Test func itComesBackSteadilyAndCountsFromAHundredthOn() {
        let budget = TenantBudget(bytes: 1_000_000, tokens: nil, perSeconds: 100)
        budget.spend(bytes: 50_000_000, now: Self.second)
        // What was beyond is not owed.
        #expect(budget.isExceeded(now: Self.second + 900_000_000))
        #expect(!budget.isExceeded(now: 2 * Self.second + 1_000_000))
        let half = budget.missing(now: 51 * Self.second).bytes
        #expect(abs(half - 0.5) < 0.001)
        budget.spend(bytes: 400_000, now: 51 * Self.second)
        #expect(!budget.isExceeded(now: 51 * Self.second))
        budget.spend(bytes: 100_000, now: 51 * Self.second)
        #expect(budget.isExceeded(now: 51 * Self.second))
        #expect(budget.missing(now: 1_000 * Self.second).bytes == 0)
    }

    @Test func eitherBucketCounts() {
        let budget = TenantBudget(bytes: 1_000_000, tokens: 10, perSeconds: 10)
        budget.spend(bytes: 100, tokens: 9, now: Self.second)
        #expect(!budget.isExceeded(now: Self.second))
        budget.spend(bytes: 0, tokens: 1, now: Self.second)
        #expect(budget.isExceeded(now: Self.second))
        let none = TenantBudget(bytes: nil, tokens: nil, perSeconds: 1)
        none.spend(bytes: .max, tokens: .max, now: Self.second)
        #expect(!none.isExceeded(now: Self.second))
    }

    @Test func aSuccessorGoesOnWhereItsPredecessorWas() {
        let now = 50 * Self.second
        let old = TenantBudget(bytes: 1_000_000, tokens: 400, perSeconds: 100)
        old.spend(bytes: 600_000, tokens: 100, now: now)
        // A quarter of what is spent in 100 s is back, but all tokens are.
        let later = now + 25 * Self.second
        let missing = old.missing(now: later)
        #expect(abs(missing.bytes - 0.35) < 0.001 && missing.tokens == 0)
        let new = TenantBudget(bytes: 1_000_000, tokens: 400, perSeconds: 100)
        new.spend(missing: missing, now: later)
        #expect(new.missing(now: later) == missing)
        for seconds in [1, 20, 34, 36] as [UInt64] {
            let then = later + seconds * Self.second
            #expect(abs(new.missing(now: then).bytes - old.missing(now: then).bytes) < 1e-9)
        }
        // What was spent before the hand-over arrived counts, too.
        new.spend(bytes: 300_000, now: later)
        #expect(abs(new.missing(now: later).bytes - 0.65) < 0.001)
        let none = TenantBudget(bytes: nil, tokens: nil, perSeconds: 1)
        none.spend(missing: (1, 1), now: now)
        #expect(none.missing(now: now) == (0, 0) && !none.isExceeded(now: now))
    }

    @Test func aSuccessorIsOverItsBudgetWhileItsPredecessorWas() {
        let old = TenantBudget(bytes: 1_000_000, tokens: 10, perSeconds: 100)
        old.spend(bytes: 1_000_000, tokens: 9, now: Self.second)
        for (milliseconds, isExceeded) in [(0, true), (900, true), (1_100, false)] {
            let now = Self.second + UInt64(milliseconds) * 1_000_000
            let new = TenantBudget(bytes: 1_000_000, tokens: 10, perSeconds: 100)
            new.spend(missing: old.missing(now: now), now: now)
            #expect(new.isExceeded(now: now) == isExceeded, "after \(milliseconds) ms")
            #expect(old.isExceeded(now: now) == isExceeded)
        }
    }

    @Test(arguments: [-Double.infinity, -1, .nan, 0, 1, 2, .infinity] as [Double])
    func whatIsHandedOverIsClamped(part: Double) {
        let budget = TenantBudget(bytes: 10, tokens: .max, perSeconds: .max)
        budget.spend(missing: (part, part), now: Self.second)
        let expected = part > 0 ? 1.0 : 0
        #expect(budget.missing(now: Self.second) == (expected, expected))
        #expect(budget.isExceeded(now: Self.second) == (part > 0))
    }

    @Test func extremesDoNotTrap() {
        for limit: Int64 in [.min, 0, 1, .max] {
            for seconds in [Int.min, 0, 1, .max] {
                let budget = TenantBudget(bytes: limit, tokens: limit, perSeconds: seconds)
                for count in [Int.min, 0, 1, .max] {
                    budget.spend(bytes: count, tokens: count, now: 1 << 58)
                    _ = budget.isExceeded(now: 0)
                    budget.spend(missing: budget.missing(now: 1 << 58), now: 1 << 58)
                }
            }
        }
    }

    @Test func threadsSpendTogether() async {
        let budget = TenantBudget(bytes: 4_000_000, tokens: nil, perSeconds: 1_000)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<900 { budget.spend(bytes: 1_000, now: Self.second) }
                }
            }
        }
        #expect(abs(budget.missing(now: Self.second).bytes - 0.9) < 0.001)
    }
}
