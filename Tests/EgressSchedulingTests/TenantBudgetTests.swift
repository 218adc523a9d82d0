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
        #expect(budget.remaining(now: Self.second) < 0.001)
    }

    @Test func itComesBackSteadilyAndCountsFromAHundredthOn() {
        let budget = TenantBudget(bytes: 1_000_000, tokens: nil, perSeconds: 100)
        budget.spend(bytes: 50_000_000, now: Self.second)
        // What was beyond is not owed.
        #expect(budget.isExceeded(now: Self.second + 900_000_000))
        #expect(!budget.isExceeded(now: 2 * Self.second + 1_000_000))
        let half = budget.remaining(now: 51 * Self.second)
        #expect(abs(half - 0.5) < 0.001)
        budget.spend(bytes: 400_000, now: 51 * Self.second)
        #expect(!budget.isExceeded(now: 51 * Self.second))
        budget.spend(bytes: 100_000, now: 51 * Self.second)
        #expect(budget.isExceeded(now: 51 * Self.second))
        #expect(budget.remaining(now: 1_000 * Self.second) == 1)
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

    @Test func extremesDoNotTrap() {
        for limit: Int64 in [.min, 0, 1, .max] {
            for seconds in [Int.min, 0, 1, .max] {
                let budget = TenantBudget(bytes: limit, tokens: limit, perSeconds: seconds)
                for count in [Int.min, 0, 1, .max] {
                    budget.spend(bytes: count, tokens: count, now: 1 << 58)
                    _ = budget.isExceeded(now: 0)
                    _ = budget.remaining(now: 1 << 58)
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
        #expect(abs(budget.remaining(now: Self.second) - 0.1) < 0.001)
    }
}
