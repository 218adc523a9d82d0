import ControlModel
import Cryptography
import PacketFormats
import Testing

@testable import NodeAgent

@Suite struct TargetHealthTests {
    private static let step: UInt64 = 200_000_000

    /// A target that is asked every 200 ms.
    private struct Run {
        var health = TargetHealth()
        var now: UInt64 = 1_000_000_000
        var token: UInt64 = 0

        /// - Parameter after: Nanoseconds until the answer; `nil` for none.
        mutating func ask(_ count: Int = 1, answeredAfter after: UInt64? = 1_000_000) {
            for _ in 0..<count {
                token += 1
                health.noteSent(token, at: now)
                if let after { _ = health.noteAnswer(token, isGood: true, at: now + after) }
                now += TargetHealthTests.step
                health.advance(to: now)
            }
        }

        /// Until it is down or up again, at most as long.
        mutating func seconds(until state: TargetHealth.State, answers: Bool) -> Double {
            let begin = now
            while health.state != state, now - begin < 200_000_000_000 {
                ask(answeredAfter: answers ? 1_000_000 : nil)
            }
            return Double(now - begin) / 1e9
        }
    }

    @Test func threeLossesInARowAreDeath() {
        var run = Run()
        run.ask(10)
        #expect(run.health.state == .up)
        run.ask(2, answeredAfter: nil)
        #expect(run.health.state == .up)
        run.ask(answeredAfter: nil)
        #expect(run.health.state == .down)
    }

    @Test func scatteredLossesAreNot() {
        var run = Run()
        for _ in 0..<100 {
            run.ask(2, answeredAfter: nil)
            run.ask()
        }
        #expect(run.health.state == .up)
    }

    @Test func deathIsNoticedWithinAFractionOfASecond() {
        var run = Run()
        run.ask(10)
        let begin = run.now
        var clock = begin
        var nextAsk = begin
        while run.health.state == .up, clock < begin + 2_000_000_000 {
            if clock >= nextAsk {
                run.token += 1
                run.health.noteSent(run.token, at: clock)
                nextAsk += Self.step
            }
            clock = min(run.health.nextDeadline ?? .max, nextAsk)
            run.health.advance(to: clock)
        }
        #expect(clock - begin == 500_000_000, "two intervals and a timeout")
    }

    @Test func neverAnsweredIsDownAtLast() {
        var run = Run()
        #expect(run.seconds(until: .down, answers: false) <= 1.6)
    }

    @Test func fiveAnswersInARowAreRecovery() {
        var run = Run()
        run.ask(5)
        run.ask(3, answeredAfter: nil)
        run.ask(4)
        run.ask(answeredAfter: nil)
        run.ask(4)
        #expect(run.health.state == .down)
        run.ask()
        #expect(run.health.state == .up)
    }

    @Test func whatFlapsStaysDownForLongerAndLonger() {
        var run = Run()
        run.ask(5)
        var waits: [Double] = []
        for _ in 0..<9 {
            _ = run.seconds(until: .down, answers: false)
            waits.append(run.seconds(until: .up, answers: true))
        }
        #expect(waits[0] <= 1.01)
        for (index, least) in [2.0, 4, 8, 16, 32, 64, 64, 64].enumerated() {
            #expect(waits[index + 1] >= least - 0.1 && waits[index + 1] <= least + 1.1, "\(waits)")
        }
        // A minute of calm, and all is forgotten.
        run.ask(301)
        _ = run.seconds(until: .down, answers: false)
        #expect(run.seconds(until: .up, answers: true) <= 1.01)
    }

    @Test func lateAnswersTeachHowLongItTakes() {
        var run = Run()
        // Answers take 900 ms, longer than four intervals.
        var sent: [(UInt64, UInt64)] = []
        for _ in 0..<200 {
            run.token += 1
            run.health.noteSent(run.token, at: run.now)
            sent.append((run.token, run.now + 900_000_000))
            run.now += Self.step
            for (token, at) in sent where at <= run.now {
                _ = run.health.noteAnswer(token, isGood: true, at: at)
            }
            sent.removeAll { $0.1 <= run.now }
            run.health.advance(to: run.now)
        }
        #expect(run.health.state == .up)
        #expect(run.health.timeoutNanoseconds >= 900_000_000)
    }

    @Test func refusalsAreLosses() {
        var run = Run()
        run.ask(5)
        for token in 900..<903 as Range<UInt64> {
            run.health.noteSent(token, at: run.now)
            let isIts = run.health.noteAnswer(token, isGood: false, at: run.now + 1)
            #expect(isIts)
        }
        #expect(run.health.state == .down)
    }

    @Test func unaskedAndRepeatedAnswersCountForNothing() {
        var run = Run()
        run.ask(3, answeredAfter: nil)
        run.ask(3, answeredAfter: nil)
        run.ask(3, answeredAfter: nil)
        #expect(run.health.state == .down)
        run.ask()
        for _ in 0..<10 {
            let isIts = run.health.noteAnswer(run.token, isGood: true, at: run.now)
            #expect(!isIts)
            let isAnothers = run.health.noteAnswer(77_777, isGood: true, at: run.now)
            #expect(!isAnothers)
        }
        #expect(run.health.state == .down)
    }
}

@Suite struct GatewayHealthTests {
    private let server = HealthTarget("tcp:10.0.0.5:443")!
    private let other = HealthTarget("icmp:10.0.0.6")!

    private func gateway(
        _ number: UInt8, priority: UInt16 = 100, weight: UInt16 = 1, _ targets: [HealthTarget]
    ) -> GatewayHealth.Gateway {
        GatewayHealth.Gateway(
            node: Network.node(UInt64(number)), name: "gw-\(number)",
            publicKey: Network.publicKey(number), priority: priority, weight: weight,
            targets: targets)
    }

    private var now: UInt64 { 5_000_000_000 }

    /// Asks for a while.
    ///
    /// - Parameter answers: Whether the target answers through the gateway of this number.
    private func run(
        _ health: inout GatewayHealth, _ clock: inout UInt64, rounds: Int,
        answers: (PublicKey, HealthTarget) -> Bool
    ) {
        var token = clock
        for _ in 0..<rounds {
            let questions = health.takeQuestions(at: clock) {
                token += 1
                return token
            }
            for question in questions where answers(question.publicKey, question.target) {
                health.noteAnswer(question.token, of: question.target, isGood: true, at: clock + 1)
            }
            clock += GatewayHealth.intervalNanoseconds
            health.advance(to: clock)
        }
    }

    private func levels(_ health: GatewayHealth) -> [GatewayHealth.Level] {
        health.report.map(\.level)
    }

    @Test func aSingleGatewayIsAskedNothing() {
        var health = GatewayHealth()
        health.set([gateway(1, [server])])
        let questions = health.takeQuestions(at: now) { 1 }
        #expect(questions.isEmpty && health.nextDeadline == nil)
        let preferences = health.takePreferences()
        #expect(preferences.map(\.level) == [.up])
    }

    @Test func everyTargetIsAskedThroughEveryGatewayOnceAnInterval() {
        var health = GatewayHealth()
        health.set([gateway(1, [server, other]), gateway(2, [server])])
        var token: UInt64 = 0
        func random() -> UInt64 {
            token += 1
            return token
        }
        let first = health.takeQuestions(at: now, random: random)
        #expect(first.count == 3 && Set(first.map(\.token)).count == 3)
        let early = health.takeQuestions(at: now + 74_000_000, random: random)
        #expect(early.isEmpty)
        let later = health.takeQuestions(at: now + 150_000_000, random: random)
        #expect(later.count == 3)
    }

    @Test func destinationBehindOneGatewayDies() {
        var health = GatewayHealth(), clock = now
        health.set([gateway(1, [server]), gateway(2, [server])])
        run(&health, &clock, rounds: 10) { _, _ in true }
        #expect(levels(health) == [.up, .up])
        _ = health.takePreferences()
        run(&health, &clock, rounds: 4) { key, _ in key == Network.publicKey(2) }
        #expect(levels(health) == [.down, .up])
        let changed = health.takePreferences()
        #expect(changed.map(\.publicKey) == [Network.publicKey(1)])
        let nothing = health.takePreferences()
        #expect(nothing.isEmpty)
        run(&health, &clock, rounds: 6) { _, _ in true }
        #expect(levels(health) == [.up, .up])
    }

    @Test func someTargetsAreWorseThanAllAndBetterThanNone() {
        var health = GatewayHealth(), clock = now
        health.set([gateway(1, [server, other]), gateway(2, [server, other])])
        run(&health, &clock, rounds: 10) { _, target in target == server }
        #expect(levels(health) == [.partial, .partial])
        run(&health, &clock, rounds: 5) { key, target in
            target == server && key == Network.publicKey(1)
        }
        #expect(levels(health) == [.partial, .down])
    }

    @Test func allDeadAreAlike() {
        var health = GatewayHealth(), clock = now
        health.set([gateway(1, [server]), gateway(2, [server])])
        run(&health, &clock, rounds: 10) { _, _ in false }
        #expect(levels(health) == [.down, .down])
    }

    @Test func priorityAndWeightAreToldOn() {
        var health = GatewayHealth()
        health.set([gateway(1, priority: 10, weight: 3, [server]), gateway(2, [server])])
        let first = health.takePreferences()
        #expect(Set(first.map(\.priority)) == [10, 100] && Set(first.map(\.weight)) == [3, 1])
        health.set([gateway(1, priority: 10, weight: 0, [server]), gateway(2, [server])])
        let second = health.takePreferences()
        #expect(second.map(\.weight) == [0])
        health.forgetTold()
        let again = health.takePreferences()
        #expect(again.count == 2)
    }

    @Test func whatIsKnownOutlivesOtherChanges() {
        var health = GatewayHealth(), clock = now
        health.set([gateway(1, [server]), gateway(2, [server])])
        run(&health, &clock, rounds: 10) { key, _ in key == Network.publicKey(2) }
        health.set([gateway(1, priority: 5, [server]), gateway(2, [server]), gateway(3, [server])])
        #expect(levels(health) == [.down, .up, .up])
        health.set([gateway(1, [other]), gateway(2, [server])])
        #expect(levels(health) == [.up, .up], "another target is not known")
    }

    @Test func anAnswerCountsForItsQuestionOnly() {
        var health = GatewayHealth()
        health.set([gateway(1, [server]), gateway(2, [server])])
        var token: UInt64 = 0
        let questions = health.takeQuestions(at: now) {
            token += 1
            return token
        }
        let isOfAnother = health.noteAnswer(1, of: other, isGood: true, at: now)
        let isUnknown = health.noteAnswer(99, of: server, isGood: true, at: now)
        let isIts = health.noteAnswer(questions[0].token, of: server, isGood: true, at: now)
        let isSecond = health.noteAnswer(questions[0].token, of: server, isGood: true, at: now)
        #expect(isOfAnother == nil && isUnknown == nil && isSecond == nil)
        #expect(isIts == questions[0].publicKey)
    }
}
