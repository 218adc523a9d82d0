import EgressScheduling
import Testing

@Suite struct SojournControllerTests {
    /// The controller behind a reference, so that expectations can call it.
    private final class Queue {
        private var controller = SojournController(
            targetNanoseconds: 300_000, intervalNanoseconds: 4_000_000)

        func left(sojournNanoseconds: UInt64, now: UInt64) -> Bool {
            controller.left(sojournNanoseconds: sojournNanoseconds, now: now)
        }
    }

    @Test func delayBelowTargetNeverSignals() {
        let queue = Queue()
        for step in 1...10_000 {
            let signalled = queue.left(
                sojournNanoseconds: 299_999, now: UInt64(step) * 100_000)
            #expect(!signalled)
        }
    }

    @Test func burstShorterThanTheIntervalPasses() {
        let queue = Queue()
        var now: UInt64 = 1_000
        for _ in 0..<100 {
            // 3.9 ms above target, then one message below it.
            for _ in 0..<39 {
                now += 100_000
                #expect(!queue.left(sojournNanoseconds: 5_000_000, now: now))
            }
            now += 100_000
            #expect(!queue.left(sojournNanoseconds: 0, now: now))
        }
    }

    @Test func standingDelaySignalsAfterOneInterval() {
        let queue = Queue()
        #expect(!queue.left(sojournNanoseconds: 300_000, now: 1))
        #expect(!queue.left(sojournNanoseconds: 300_000, now: 4_000_000))
        #expect(queue.left(sojournNanoseconds: 300_000, now: 4_000_001))
    }

    @Test func signalsComeFasterTheLongerTheDelayStands() {
        let queue = Queue()
        var signals: [UInt64] = []
        for step in 1...2_000 {
            let now = UInt64(step) * 50_000
            if queue.left(sojournNanoseconds: 1_000_000, now: now) { signals.append(now) }
        }
        let gaps = zip(signals, signals.dropFirst()).map { $1 - $0 }
        #expect(gaps.count > 20)
        #expect(gaps.last! < gaps.first! / 2)
    }

    @Test func delayBelowTargetEndsTheEpisode() {
        let queue = Queue()
        _ = queue.left(sojournNanoseconds: 1_000_000, now: 1)
        #expect(queue.left(sojournNanoseconds: 1_000_000, now: 5_000_000))
        #expect(!queue.left(sojournNanoseconds: 0, now: 6_000_000))
        // The next delay has to stand for an interval again.
        #expect(!queue.left(sojournNanoseconds: 1_000_000, now: 7_000_000))
        #expect(!queue.left(sojournNanoseconds: 1_000_000, now: 10_000_000))
        #expect(queue.left(sojournNanoseconds: 1_000_000, now: 11_000_000))
    }

    @Test func clockThatStandsStillDoesNotSignal() {
        let queue = Queue()
        for _ in 0..<1_000 {
            let signalled = queue.left(sojournNanoseconds: .max, now: 42)
            #expect(!signalled)
        }
    }
}
