import PacketFormats
import TestSupport
import Testing

@testable import WireGuardProtocol

@Suite struct PathMonitorTests {
    private static let busy: UInt64 = 1_000_000

    // MARK: Pace

    @Test func firstLookIsASmallProbeAndOneOfTheWholeSize() {
        var path = SimulatedPath()
        path.run(2 * millisecond)
        #expect(path.probes.map(\.probe.datagramByteCount) == [0, 1_452])
        #expect(path.probes.map(\.probe.number) == [.max - 2, .max - 1])
        path.run(30 * millisecond)
        #expect(path.current == 1_452 && path.estimate.isDatagramSizeConfirmed)
    }

    @Test func paceFollowsTraffic() {
        var path = SimulatedPath()
        path.bytesPerSecond = Self.busy
        path.run(10 * second)
        let small = path.probes.filter { $0.probe.datagramByteCount == 0 }
        #expect((20...42).contains(small.count), "every half second, and beside those of size")
        path.bytesPerSecond = 0
        let quiet = path.now + second
        path.run(19 * second)
        let few = path.probes(since: quiet)
        #expect((8...11).contains(few.count))
        #expect(few.allSatisfy { $0.datagramByteCount == 0 })
        path.run(5 * second)
        let silence = path.now
        path.run(600 * second)
        #expect(path.probes(since: silence).isEmpty)
        #expect(path.monitor.nextDeadline == .max)
    }

    /// A small probe is 76 bytes with IPv4 and UDP, an answer 124; either end sends both.
    @Test func quietPathCostsEightHundredBitsASecondAtMost() {
        var path = SimulatedPath()
        path.run(second)
        let start = path.now
        path.run(16 * second)
        let probes = path.probes(since: start)
        #expect(probes.allSatisfy { $0.datagramByteCount == 0 })
        #expect(probes.count * 8 * (76 + 124) / 16 <= 800)
    }

    @Test func trafficAfterSilenceIsLookedAtAtOnce() {
        var path = SimulatedPath()
        path.run(60 * second)
        let before = path.probes.count
        path.monitor.wake(now: path.now)
        #expect(path.monitor.nextDeadline <= path.now)
        path.run(2 * millisecond)
        #expect(path.probes.count == before + 1)
        // And not for each packet anew.
        for _ in 0..<100 {
            path.monitor.wake(now: path.now)
            path.run(millisecond)
        }
        #expect(path.probes.count == before + 1)
    }

    /// What counts as traffic does not depend on how often it is looked at.
    @Test func quickPaceIsKeptUpBySlowTraffic() {
        var path = SimulatedPath(pace: 20 * millisecond)
        path.bytesPerSecond = 20_000
        path.run(3 * second)
        let start = path.now
        path.run(10 * second)
        #expect((480...560).contains(path.probes(since: start).count))
    }

    @Test func paceIsChangedWithoutForgettingTheSize() {
        var path = SimulatedPath()
        path.bytesPerSecond = Self.busy
        path.sizeMax = 1_300
        path.run(5 * second)
        let found = path.current
        path.monitor.setActiveInterval(100 * millisecond)
        path.run(second)
        let start = path.now
        path.run(10 * second)
        #expect(path.current == found)
        #expect((95...150).contains(path.probes(since: start).count))
        // No pace is so quick that it is a flood.
        path.monitor.setActiveInterval(0)
        let flood = path.now
        path.run(second)
        #expect(path.probes(since: flood).count <= 105)
        // And none so slow that it ends.
        path.monitor.setActiveInterval(.max)
        let slow = path.now
        path.run(10 * second)
        #expect(path.probes(since: slow).filter { $0.datagramByteCount == 0 }.count >= 5)
    }

    // MARK: Sizes

    @Test(arguments: [1_252, 1_300, 1_372, 1_451, 1_452])
    func sizeIsFoundWithinSeconds(sizeMax: Int) {
        for delay in [0, millisecond, 40 * millisecond, 150 * millisecond] {
            var path = SimulatedPath()
            path.delay = delay
            path.sizeMax = sizeMax
            path.bytesPerSecond = Self.busy
            path.run(12 * second)
            #expect(path.current <= sizeMax && path.current > sizeMax - 8, "\(delay)")
            #expect(path.estimate.isDatagramSizeConfirmed)
        }
    }

    @Test func blackHoleIsNoticedWithinThreeSecondsAndLeftAfterAMinute() {
        for delay in [millisecond, 100 * millisecond] {
            var path = SimulatedPath()
            path.delay = delay
            path.bytesPerSecond = Self.busy
            path.run(10 * second)
            #expect(path.current == 1_452)
            path.sizeMax = 1_350
            path.run(3 * second)
            #expect(path.current <= 1_350)
            path.run(10 * second)
            #expect(path.current > 1_342 && path.current <= 1_350)
            path.sizeMax = .max
            path.run(64 * second)
            #expect(path.current == 1_452)
        }
    }

    /// What a TCP sender sends into a black hole ends soon.
    @Test func blackHoleIsNoticedThoughTrafficEnds() {
        var path = SimulatedPath()
        path.delay = 150 * millisecond
        path.bytesPerSecond = Self.busy
        path.run(10 * second)
        path.sizeMax = 1_350
        path.run(700 * millisecond)
        path.bytesPerSecond = 1_000
        path.run(6 * second)
        #expect(path.current > 1_342 && path.current <= 1_350)
    }

    @Test func deadPathSaysNothingOfSizes() {
        var path = SimulatedPath()
        path.bytesPerSecond = Self.busy
        path.run(5 * second)
        path.isAnswering = false
        let start = path.now
        path.run(120 * second)
        #expect(path.current == 1_452)
        // A peer that answers nothing is not flooded.
        let bytes = path.probes(since: start).reduce(0) { $0 + 76 + $1.datagramByteCount }
        #expect(bytes / 120 < 400)
        path.isAnswering = true
        path.sizeMax = 1_300
        path.run(6 * second)
        #expect(path.current <= 1_300)
    }

    @Test(arguments: Seeds.count(10))
    func randomLossLowersTheSizeSeldom(seed: UInt64) {
        var path = SimulatedPath(seed: seed)
        path.bytesPerSecond = Self.busy
        path.delay = 20 * millisecond
        path.lossPercent = 30
        path.run(5 * second)
        let start = path.now
        path.run(900 * second)
        let share = path.share(below: 1_444, since: start)
        #expect(share < 0.1, "\(share)")
        path.lossPercent = 0
        path.run(70 * second)
        #expect(path.current == 1_452)
    }

    @Test(arguments: [1, 100, 400])
    func suddenQueueNeitherLowersTheSizeNorEndsTheEstimate(milliseconds: Int) {
        var path = SimulatedPath()
        path.bytesPerSecond = Self.busy
        path.delay = millisecond / 2
        path.run(10 * second)
        path.delay = UInt64(milliseconds) * millisecond
        let (start, answers) = (path.now, path.estimate.answerCount)
        path.run(10 * second)
        #expect(path.share(below: 1_452, since: start) == 0)
        #expect(path.estimate.answerCount > answers + 15)
        let expected = 2 * path.delay
        #expect(path.estimate.roundTrip > expected / 10 * 8)
        #expect(path.estimate.roundTrip < expected / 10 * 11)
    }

    /// 64 kbit/s: what is long takes 180 ms more than what is short.
    @Test func slowLinkIsNoNarrowOne() {
        var path = SimulatedPath()
        path.bytesPerSecond = 5_000
        path.delayPerByte = 125_000
        path.run(60 * second)
        #expect(path.current == 1_452 && path.estimate.isDatagramSizeConfirmed)
    }

    @Test func anotherPathBeginsAnew() {
        var path = SimulatedPath()
        path.bytesPerSecond = Self.busy
        path.sizeMax = 1_300
        path.run(10 * second)
        let probes = path.estimate.probeCount
        path.sizeMax = .max
        path.delay = 100 * millisecond
        path.monitor.move()
        path.monitor.restart(ipOverhead: 48, packetMax: 1_420, now: path.now)
        #expect(path.current == 1_452 && !path.estimate.isDatagramSizeConfirmed)
        path.run(second)
        #expect(path.estimate.isDatagramSizeConfirmed)
        #expect(path.estimate.roundTrip == 200 * millisecond)
        #expect(path.estimate.roundTripMin == 200 * millisecond)
        #expect(path.estimate.probeCount > probes, "counts go on")
    }

    @Test func largestMTUsAskForNoMoreThanADatagramHolds() {
        for (packetMax, overhead, expected) in [
            (65_535, 28, 65_507), (.max, 48, 65_487), (9_000, 28, 9_032), (1_280, 28, 1_312),
            (1_220, 28, 1_252), (1_219, 28, 1_252), (576, 28, 1_252), (68, 48, 1_232),
        ] {
            var path = SimulatedPath(ipOverhead: overhead, packetMax: packetMax)
            path.run(2 * second)
            #expect(path.current == expected && path.estimate.isDatagramSizeConfirmed)
            #expect(path.monitor.packetMax == expected - 32)
        }
    }

    // MARK: Companions

    @Test func sizeIsLostOnlyWhereItsCompanionWasNot() {
        for isCompanionAnswered in [false, true] {
            var now = second
            var monitor = PathMonitor(
                ipOverhead: 28, packetMax: 1_420, firstNumber: 9, now: now)
            var sizes: [Int] = []
            while sizes.count < 4 {
                let probes = monitor.advance(now: now, traffic: 0)
                let large = probes.filter { $0.datagramByteCount > 0 }
                sizes += large.map(\.datagramByteCount)
                if !large.isEmpty {
                    #expect(probes.count == 2 && probes[1] == large[0], "behind its companion")
                }
                if isCompanionAnswered, !large.isEmpty {
                    let answer = PathAnswer(
                        number: probes[0].number, sentAt: now / 1_000, receivedAt: 0)
                    now += 10 * millisecond
                    #expect(monitor.take(answer, arrivedAt: now / 1_000, now: now) != nil)
                }
                now += 5 * second
                monitor.wake(now: now)
            }
            #expect(sizes == [1_452, 1_452, 1_452, isCompanionAnswered ? 1_252 : 1_452])
            #expect(monitor.search.current == (isCompanionAnswered ? 1_252 : 1_452))
        }
    }

    // MARK: Bounds

    @Test func fewProbesAreOpenHoweverQuickThePace() {
        var path = SimulatedPath(pace: 10 * millisecond)
        path.bytesPerSecond = Self.busy
        path.isAnswering = false
        path.run(20 * second)
        for (index, entry) in path.probes.enumerated().dropFirst(PathMonitor.waitingMax) {
            let earlier = path.probes[index - PathMonitor.waitingMax].sentAt
            #expect(entry.sentAt - earlier >= PathMonitor.answerTimeMax)
        }
    }

    @Test func quickPaceOnALongPathStillMeasures() {
        var path = SimulatedPath(pace: 10 * millisecond)
        path.bytesPerSecond = Self.busy
        path.delay = 400 * millisecond
        path.sizeMax = 1_400
        path.run(30 * second)
        #expect(path.estimate.roundTrip == 800 * millisecond)
        #expect(path.current > 1_392 && path.current <= 1_400)
    }

    // MARK: Hostile answers

    @Test func answersThatNobodyAskedForAreNothing() {
        var path = SimulatedPath()
        path.run(5 * second)
        let before = path.estimate
        for number: UInt32 in 0..<2_000 {
            let answer = PathAnswer(number: number &+ 1_000, sentAt: 0, receivedAt: 0)
            #expect(path.monitor.take(answer, arrivedAt: .max, now: path.now) == nil)
        }
        #expect(path.estimate == before)
    }

    /// Answers that settle nothing cost no more than those that do.
    @Test(arguments: [0, 1, 1_451, 1_453, 65_535] as [UInt16])
    func wrongSizesAreNotAskedForWithoutPause(size: UInt16) {
        var path = SimulatedPath()
        path.delay = 0
        path.bytesPerSecond = Self.busy
        path.alter = { if $0.datagramByteCount > 48 { $0.datagramByteCount = size } }
        path.run(10 * second)
        #expect(path.probes.count < 120)
        #expect(path.current == 1_452 && !path.estimate.isDatagramSizeConfirmed)
    }

    @Test func contradictingStampsAreNotMeasured() {
        for (sentAt, held, arrivedAt) in [
            (10, 0, 9), (0, 0, 60_000_001), (0, 6, 5), (.max, 0, 0), (0, .max, 1_000),
        ] as [(UInt64, UInt32, UInt64)] {
            let answer = PathAnswer(
                number: 1, sentAt: sentAt, receivedAt: 0, heldMicroseconds: held)
            #expect(PathSample(answer, arrivedAt: arrivedAt) == nil)
        }
        let answer = PathAnswer(number: 1, sentAt: 5, receivedAt: 2, heldMicroseconds: 7)
        let sample = PathSample(answer, arrivedAt: 15)
        #expect(sample?.roundTrip == 3_000 && sample?.transit == -3_000)
    }

    /// A peer may say anything for a while; after it says the truth again, the truth shows.
    @Test(arguments: Seeds.count(10))
    func nonsenseIsForgotten(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var path = SimulatedPath(seed: seed)
        path.bytesPerSecond = Self.busy
        path.run(5 * second)
        for _ in 0..<200 {
            let words = (0..<4).map { _ in random.chance(percent: 30) ? .max : random.next() }
            let choice = random.next()
            path.alter = { answer in
                if choice & 1 != 0 { answer.sentAt &-= words[0] % 60_000_000 }
                if choice & 2 != 0 { answer.receivedAt = words[1] }
                if choice & 4 != 0 { answer.heldMicroseconds = UInt32(words[2] >> 32) }
                if choice & 8 != 0 { answer.receivedCount = words[3] }
                if choice & 16 != 0 { answer.expectedCount = words[2] }
                if choice & 32 != 0 { answer.session = UInt32(words[0] >> 32) }
                if choice & 64 != 0 { answer.datagramByteCount = UInt16(words[1] >> 48) }
            }
            path.run(second / 2)
            #expect(path.estimate.roundTrip <= 60 * second)
            #expect(path.estimate.jitter <= 2 * second)
            #expect(path.estimate.lossShare.map { (0...1).contains($0) } ?? true)
        }
        path.alter = { _ in }
        path.run(200 * second)
        let estimate = path.estimate
        #expect((20 * millisecond...21 * millisecond).contains(estimate.roundTrip))
        #expect(estimate.roundTripMin == 20 * millisecond)
        #expect(estimate.jitter < millisecond)
        #expect(try #require(estimate.lossShare) < 0.01)
        #expect(path.current == 1_452)
    }

    @Test(arguments: Seeds.count(20))
    func anythingAtAnyTimeKeepsTheBounds(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let starts: [UInt64] = [0, 1, second, .max / 2, .max - 30 * second]
        var now = starts[Int.random(in: starts.indices, using: &random)]
        var monitor = PathMonitor(
            ipOverhead: random.chance(percent: 50) ? 28 : 48,
            packetMax: Int.random(in: 0...70_000, using: &random), firstNumber: .max, now: now)
        var open: [PathProbe] = []
        for _ in 0..<2_000 {
            switch Int.random(in: 0..<12, using: &random) {
            case 0: monitor.wake(now: now)
            case 1:
                if random.chance(percent: 50) { monitor.move() }
                monitor.restart(
                    ipOverhead: random.chance(percent: 50) ? 28 : 48,
                    packetMax: Int.random(in: 0...70_000, using: &random), now: now)
            case 2:
                monitor.setActiveInterval(
                    random.chance(percent: 20) ? .max : random.next() >> 34)
            case 3: now = random.chance(percent: 5) ? random.next() : now
            case 4...7:
                guard let probe = open.randomElement(using: &random) else { break }
                let isHonest = random.chance(percent: 50)
                let answer = PathAnswer(
                    number: probe.number, sentAt: isHonest ? now / 1_000 : random.next(),
                    receivedAt: random.next(),
                    heldMicroseconds: isHonest ? 0 : UInt32(truncatingIfNeeded: random.next()),
                    datagramByteCount: UInt16(clamping: probe.datagramByteCount),
                    session: UInt32(random.next() % 3), receivedCount: random.next(),
                    expectedCount: random.chance(percent: 20) ? .max : random.next())
                _ = monitor.take(answer, arrivedAt: now / 1_000, now: now)
            default:
                let (sum, overflow) = now.addingReportingOverflow(random.next() % (3 * second))
                now = overflow ? .max : sum
            }
            let probes = monitor.advance(now: now, traffic: random.next())
            #expect(probes.count <= 2)
            open = Array((open + probes).suffix(40))
            let search = monitor.search
            #expect(search.current >= search.floor && search.current <= search.ceiling)
            #expect(probes.allSatisfy { $0.datagramByteCount <= search.ceiling })
            #expect(now == .max || monitor.nextDeadline > now)
            #expect(monitor.estimate.roundTrip <= 60 * second)
            #expect(monitor.estimate.lossShare.map { (0...1).contains($0) } ?? true)
        }
    }

    /// A sender whose socket is full gets small probes through, and none of size.
    @Test func probesThatDoNotLeaveSayNothingOfTheSize() {
        var monitor = PathMonitor(ipOverhead: 28, packetMax: 1_420, firstNumber: 1, now: second)
        var now = second
        for _ in 0..<200 {
            for probe in monitor.advance(now: now, traffic: now / 100) {
                if probe.datagramByteCount > 0 {
                    monitor.forget(probe, now: now)
                } else {
                    _ = monitor.take(
                        PathAnswer(number: probe.number, sentAt: now / 1_000, receivedAt: 7),
                        arrivedAt: now / 1_000 + 10, now: now)
                }
            }
            #expect(monitor.nextDeadline > now, "no probe without a pause")
            now += 100 * millisecond
        }
        #expect(monitor.search.current == 1_452 && !monitor.estimate.isDatagramSizeConfirmed)
    }
}
