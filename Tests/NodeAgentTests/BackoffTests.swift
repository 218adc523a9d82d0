import Testing

@testable import NodeAgent

@Suite struct BackoffTests {
    @Test func firstRetryIsQuickAndLaterOnesGrowToAMinute() {
        var backoff = Backoff()
        let ceilings = (0..<12).map { _ in backoff.next(random: 1) }
        #expect(ceilings.prefix(5) == [100, 500, 1_000, 2_000, 4_000])
        #expect(ceilings.last == 60_000)
        backoff.reset()
        let first = backoff.next(random: 1)
        #expect(first == 100)
    }

    @Test func jitterIsFull() {
        var backoff = Backoff()
        for _ in 0..<8 { _ = backoff.next(random: 0.5) }
        let none = backoff.next(random: 0)
        #expect(none == 0)
    }
}
