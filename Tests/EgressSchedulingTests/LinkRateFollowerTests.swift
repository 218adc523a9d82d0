import TestSupport
import Testing

@testable import EgressScheduling

@Suite struct LinkRateFollowerTests {
    private static let follower = LinkRateFollower(
        minimum: 2_000_000, starting: 40_000_000, maximum: 40_000_000)

    private static func link(
        _ peers: [FollowedLink.Peer], rate: Double = 40e6, seed: UInt64 = 1
    ) -> FollowedLink {
        FollowedLink(follower, peers: peers, linkRate: rate, seed: seed)
    }

    /// Clocks that are years apart, and drift as the worst do.
    private static func peers(_ count: Int, every milliseconds: Int = 100) -> [FollowedLink.Peer] {
        (0..<count).map { index in
            .init(
                offset: Int64(index - 1) * 100_000_000_000_000_000,
                driftPerSecond: index % 2 == 0 ? 50_000 : -50_000,
                intervalMilliseconds: milliseconds)
        }
    }

    // MARK: - The line changes

    struct Step: Sendable {
        let interval: Int
        let bufferBytes: Double
        let noise: Double
        /// In seconds, until the rate is in its band; around the line's; in milliseconds, what is
        /// not waited in nine tenths of the time.
        let settling: Int
        let band: ClosedRange<Int64>
        let queue: Double

        init(
            _ interval: Int, bufferBytes: Double, noise: Double, settling: Int,
            band: ClosedRange<Int64>, queue: Double
        ) {
            (self.interval, self.bufferBytes, self.noise) = (interval, bufferBytes, noise)
            (self.settling, self.band, self.queue) = (settling, band, queue)
        }
    }

    private static let fifth: ClosedRange<Int64> = 8_000_000...12_000_000
    private static let third: ClosedRange<Int64> = 6_700_000...13_300_000

    /// To a quarter and back, under a load that no mark or loss slows down.
    @Test(
        arguments: [
            Step(100, bufferBytes: 60_000, noise: 1e6, settling: 6, band: fifth, queue: 50),
            Step(100, bufferBytes: 250_000, noise: 3e6, settling: 6, band: fifth, queue: 50),
            Step(100, bufferBytes: 2_000_000, noise: 2e6, settling: 14, band: fifth, queue: 50),
            Step(250, bufferBytes: 250_000, noise: 3e6, settling: 10, band: fifth, queue: 120),
            Step(500, bufferBytes: 500_000, noise: 1e6, settling: 16, band: third, queue: 200),
        ], [1, 3])
    func aRateThatFallsAndRisesIsFollowed(_ step: Step, _ peers: Int) {
        var link = Self.link(Self.peers(peers, every: step.interval))
        link.bufferBytes = step.bufferBytes
        link.noise = step.noise
        let before = link.run(seconds: 5)
        #expect(before.rates == 40e6...40e6)
        link.linkRate = 10e6
        link.run(seconds: step.settling)
        let slow = link.run(seconds: 40)
        let isInBand = slow.share { step.band.contains($0.rate) }
        #expect(isInBand > 0.98, "\(slow.rates)")
        #expect(slow.throughput > 8.5e6)
        #expect(slow.queue(percentile: 90) < step.queue)
        link.linkRate = 40e6
        link.run(seconds: step.settling + 10)
        let fast = link.run(seconds: 5)
        #expect(fast.rates.lowerBound > 36e6, "\(fast.rates)")
        #expect(fast.queue(percentile: 99) < 20)
    }

    /// What is between minimum and maximum is found, and kept without swinging.
    @Test(arguments: [5e6, 15e6, 30e6]) func anyRateIsFound(_ rate: Double) {
        var link = Self.link(Self.peers(3), rate: rate, seed: 3)
        link.bufferBytes = rate / 40  // 200 ms.
        link.demand = 1e6
        link.run(seconds: 5)
        link.demand = .infinity
        link.run(seconds: 15)
        let points = link.run(seconds: 60)
        #expect(points.share { (0.75 * rate...1.35 * rate).contains(Double($0.rate)) } > 0.98)
        #expect(points.throughput > 0.85 * rate)
        #expect(points.queue(percentile: 90) < 80)
    }

    /// Little beside the rate that was set, and more than the line has left.
    @Test func aFallUnderLightLoadIsFoundToo() {
        var link = Self.link(Self.peers(2))
        link.demand = 6e6
        link.run(seconds: 20)
        link.linkRate = 5e6
        link.run(seconds: 15)
        let points = link.run(seconds: 60)
        #expect(points.share { $0.rate < 7_000_000 } > 0.98)
        #expect(points.queue(percentile: 90) < 120)
        #expect(points.throughput > 4e6)
    }

    @Test func anIdleLineGoesBackToItsStart() {
        var link = Self.link(Self.peers(2))
        link.run(seconds: 10)
        link.linkRate = 10e6
        link.run(seconds: 15)
        #expect(link.follower.bitsPerSecond < 14_000_000)
        link.demand = 100_000
        link.run(seconds: 2)
        #expect(link.follower.bitsPerSecond < 14_000_000, "not at once")
        link.run(seconds: 45)
        #expect(link.follower.bitsPerSecond == 40_000_000)
        #expect(link.follower.latestChange?.cause == .idle)
    }

    @Test func thePartOfARateThatNobodyUsesIsNotRaised() {
        var link = Self.link(Self.peers(2))
        link.linkRate = 10e6
        link.run(seconds: 20)
        link.linkRate = 40e6
        link.demand = 4e6
        let rates = link.run(seconds: 20).rates
        #expect(rates.lowerBound == rates.upperBound)
    }

    // MARK: - The line is as it was

    @Test(arguments: [1, 4]) func noiseLossAndDriftChangeNothing(_ peers: Int) {
        var link = Self.link(Self.peers(peers, every: 250), seed: 9)
        link.noise = 4e6
        link.lossPercent = 10
        link.run(seconds: 120)
        link.demand = 1e6
        link.run(seconds: 30)
        link.demand = 39e6
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    @Test func driftAloneChangesNothing() {
        var link = Self.link(Self.peers(2, every: 500))
        link.demand = 100_000
        link.run(seconds: 600)
        link.demand = .infinity
        link.run(seconds: 120)
        #expect(link.causes.isEmpty)
    }

    @Test func aClockThatIsSetChangesNothing() {
        var link = Self.link(Self.peers(1))
        for offset in [3_600_000_000_000, -50_000_000, 0, 200_000_000] as [Int64] {
            link.peers[0].offset = offset
            link.run(seconds: 20)
        }
        #expect(link.causes.isEmpty)
        link.linkRate = 10e6
        link.run(seconds: 10)
        #expect((6_500_000...13_500_000).contains(link.follower.bitsPerSecond))
    }

    @Test func aDetourCountsAsUsualInTheEnd() {
        var link = Self.link(Self.peers(2))
        link.run(seconds: 10)
        for index in link.peers.indices { link.peers[index].wayNanoseconds += 60_000_000 }
        link.run(seconds: 45)
        #expect(link.follower.bitsPerSecond > 36_000_000)
        #expect(link.causes.contains { $0.cause != .raised })
    }

    @Test func aQueueTakenForNoneIsKnownOnceTheLineWasIdle() {
        var link = Self.link(Self.peers(1), rate: 10e6)
        link.peers[0].answers = false
        link.run(seconds: 5)
        link.peers[0].answers = true
        link.run(seconds: 10)
        link.demand = 100_000
        link.run(seconds: 5)
        link.demand = .infinity
        link.run(seconds: 12)
        let points = link.run(seconds: 30)
        #expect(points.share { (6_500_000...13_500_000).contains($0.rate) } > 0.98)
    }

    // MARK: - Peers

    @Test func peersThatComeMeanwhileDoNotHideTheQueue() {
        var link = Self.link(Self.peers(2))
        link.peers[1].answers = false
        link.run(seconds: 10)
        link.linkRate = 10e6
        link.run(seconds: 1)
        link.peers[1].answers = true
        link.run(seconds: 9)
        let points = link.run(seconds: 30)
        #expect(points.share { (6_500_000...13_500_000).contains($0.rate) } > 0.98)
    }

    @Test func aSlowLineOfOnePeerIsNotOurs() {
        var link = Self.link(Self.peers(3))
        link.run(seconds: 10)
        link.peers[1].ownQueue = 300_000_000
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    @Test func aQueueOnTheWayBackIsNotOurs() {
        var link = Self.link(Self.peers(1))
        link.run(seconds: 10)
        link.peers[0].answersLate = 300_000_000
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    /// What its word is worth that its probes came late, when the round trip says otherwise.
    @Test func aPeerThatOnlySaysThatItIsLateChangesNothing() {
        var link = Self.link(Self.peers(1))
        link.run(seconds: 10)
        link.peers[0].lie = 5_000_000_000
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    /// Alone it decides; but never goes below the minimum, nor stays there.
    @Test func aPeerThatKeepsAnswersBackReachesTheMinimumAtMost() {
        var link = Self.link(Self.peers(1))
        link.run(seconds: 10)
        for _ in 0..<20 {
            link.peers[0].lie += 100_000_000
            link.peers[0].answersLate += 100_000_000
            link.run(seconds: 3)
        }
        #expect(link.follower.bitsPerSecond == 2_000_000)
        let points = link.run(seconds: 60)
        #expect(points.rates.lowerBound >= 2e6)
        #expect(link.follower.bitsPerSecond > 36_000_000)
    }

    @Test func oneOfThreeThatKeepsAnswersBackChangesNothing() {
        var link = Self.link(Self.peers(3))
        link.run(seconds: 10)
        link.peers[0].lie = 400_000_000
        link.peers[0].answersLate = 400_000_000
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    @Test func lostProbesUnderLoadCutToAQuarterAtMost() {
        var link = Self.link(Self.peers(2))
        link.run(seconds: 10)
        for index in link.peers.indices { link.peers[index].answers = false }
        link.run(seconds: 1)
        #expect(link.causes.isEmpty)
        link.run(seconds: 4)
        #expect(link.follower.bitsPerSecond < 40_000_000)
        #expect(link.follower.latestChange?.cause == .silence)
        link.run(seconds: 15)
        #expect((9_000_000...11_000_000).contains(link.follower.bitsPerSecond))
        link.run(seconds: 60)
        #expect(link.follower.bitsPerSecond == 40_000_000, "nobody measures any more")
        #expect(link.follower.nextTimeout == nil)
    }

    /// As where another peer's traffic fills the line, whom nobody probes.
    @Test func thatNobodyIsProbedIsNoSilence() {
        var link = Self.link(Self.peers(2))
        link.run(seconds: 10)
        for index in link.peers.indices { link.peers[index].isProbed = false }
        link.run(seconds: 60)
        #expect(link.causes.isEmpty)
    }

    @Test func withoutMeasurementsTheRateStays() {
        var link = Self.link(Self.peers(1))
        link.peers[0].answers = false
        #expect(link.follower.nextTimeout == nil)
        link.linkRate = 10e6
        link.run(seconds: 60)
        #expect(link.causes.isEmpty && link.follower.nextTimeout == nil)
    }

    // MARK: - Bounds

    @Test func ratesAreBroughtInOrder() {
        let odd = LinkRateFollower(minimum: 0, starting: .max, maximum: -1)
        #expect(odd.minimum == 1 && odd.maximum == 1 && odd.bitsPerSecond == 1)
        let wide = LinkRateFollower(minimum: 5, starting: 1, maximum: .max)
        #expect(wide.starting == 5 && wide.maximum == LinkShape.bitsPerSecondMax)
        var resumed = Self.follower
        resumed.resume(at: 1)
        #expect(resumed.bitsPerSecond == 2_000_000 && resumed.latestChange == nil)
        resumed.resume(at: .max)
        #expect(resumed.bitsPerSecond == 40_000_000)
    }

    @Test(arguments: UInt64(1)...40) func nothingThatIsSaidLeavesTheRange(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var follower = LinkRateFollower(minimum: 1_000, starting: 500_000, maximum: 1_000_000)
        var (now, bytes) = (UInt64(0), UInt64(0))
        let delays: [Int64] = [.min, .max, 0, -1, 1 << 60, -(1 << 60), 20_000_000]
        let trips: [UInt64] = [0, .max, 1, 1 << 60, 30_000_000]
        for _ in 0..<3_000 {
            now = random.chance(percent: 1) ? random.next() : now &+ random.next() % 200_000_000
            bytes = random.chance(percent: 1) ? random.next() : bytes &+ random.next() % 30_000
            let sample = DelaySample(
                outwardDelay: delays.randomElement(using: &random) ?? 0,
                roundTrip: trips.randomElement(using: &random) ?? 0,
                peer: Int32(truncatingIfNeeded: random.next() % 100))
            let old = follower.bitsPerSecond
            let new = random.chance(percent: 90)
                ? follower.note(
                    sample, tunnel: Int32(random.next() % 2), bytesSent: bytes, now: now)
                : follower.expire(bytesSent: bytes, now: now)
            #expect(new == nil ? follower.bitsPerSecond == old : new == follower.bitsPerSecond)
            #expect((1_000...1_000_000).contains(follower.bitsPerSecond))
        }
    }
}
