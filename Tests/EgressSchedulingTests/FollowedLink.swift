import TestSupport

@testable import EgressScheduling

/// A line with a buffer behind a shaper that follows it, and peers that answer probes, over virtual
/// time in steps of a millisecond.
struct FollowedLink {
    struct Peer {
        /// Of its clock against ours, in nanoseconds, and how much more it is each second.
        var offset: Int64 = 0
        var driftPerSecond: Int64 = 0
        var intervalMilliseconds = 100
        /// Each way.
        var wayNanoseconds: Int64 = 10_000_000
        /// A queue of its own, which no other peer's packets pass.
        var ownQueue: Int64 = 0
        /// What it says beyond the truth, and how long it keeps answers back.
        var lie: Int64 = 0
        var answersLate: Int64 = 0
        var isProbed = true
        var answers = true
    }

    struct Point {
        /// Of the line as the follower has it, in bits per second.
        var rate: Int64
        /// What waits in the line's buffer, in nanoseconds.
        var queue: Int64
        /// Bits that arrived at the other end within the millisecond.
        var delivered: Double
    }

    var follower: LinkRateFollower
    var peers: [Peer]
    /// Bits per second.
    var linkRate: Double
    var bufferBytes = 500_000.0
    /// What there is to send, in bits per second.
    var demand = Double.infinity
    /// Mean of exponential noise of each way, in nanoseconds.
    var noise = 1_000_000.0
    var lossPercent = 2
    private(set) var points: [Point] = []
    private(set) var causes: [LinkRateFollower.Change] = []
    private(set) var milliseconds = 0
    private var queued = 0.0
    private var sent = 0.0
    private var bufferIsFull = false
    private var nextProbes: [Int]
    private var answers: [(at: UInt64, sample: DelaySample)] = []
    private var random: SeededGenerator

    init(_ follower: LinkRateFollower, peers: [Peer], linkRate: Double, seed: UInt64) {
        self.follower = follower
        self.peers = peers
        self.linkRate = linkRate
        nextProbes = peers.indices.map { 13 * $0 }
        random = SeededGenerator(seed: seed)
    }

    private var now: UInt64 { 1_000_000_000_000 + UInt64(milliseconds) * 1_000_000 }
    private var queueNanoseconds: Int64 { Int64(queued * 8e9 / linkRate) }

    /// - Returns: A point for each millisecond.
    @discardableResult
    mutating func run(seconds: Int) -> ArraySlice<Point> {
        let start = points.count
        for _ in 0..<seconds * 1_000 { step() }
        return points[start...]
    }

    private mutating func step() {
        milliseconds += 1
        // What QoSSettings.Link.shapedShare leaves of the rate.
        let bits = min(demand, 0.95 * Double(follower.bitsPerSecond)) / 1_000
        sent += bits / 8
        let room = bufferBytes + linkRate / 8_000 - queued
        bufferIsFull = bits / 8 > room
        queued += min(bits / 8, room)
        let leaving = min(queued, linkRate / 8_000)
        queued -= leaving
        probe(sharePassing: bufferIsFull ? room / (bits / 8) : 1)
        answers.sort { $0.at < $1.at }
        while let first = answers.first, first.at <= now {
            answers.removeFirst()
            take(follower.note(first.sample, bytesSent: UInt64(sent), now: now))
        }
        if let timeout = follower.nextTimeout, timeout <= now {
            take(follower.expire(bytesSent: UInt64(sent), now: now))
        }
        points.append(
            Point(rate: follower.bitsPerSecond, queue: queueNanoseconds, delivered: leaving * 8))
    }

    private mutating func take(_ rate: Int64?) {
        guard rate != nil, let change = follower.latestChange else { return }
        causes.append(change)
    }

    private mutating func probe(sharePassing: Double) {
        for index in peers.indices where nextProbes[index] <= milliseconds {
            let peer = peers[index]
            nextProbes[index] += peer.intervalMilliseconds
            if peer.isProbed { follower.noteProbe(now: now) }
            guard peer.isProbed, peer.answers, !random.chance(percent: lossPercent),
                Double.random(in: 0..<1, using: &random) < sharePassing
            else { continue }
            let outward = peer.wayNanoseconds + queueNanoseconds + peer.ownQueue + jitter()
            let back = peer.wayNanoseconds + jitter() + peer.answersLate
            let drift = peer.driftPerSecond * Int64(milliseconds) / 1_000
            let sample = DelaySample(
                outwardDelay: outward + peer.offset + drift + peer.lie,
                roundTrip: UInt64(outward + back), peer: Int32(index))
            answers.append((now + sample.roundTrip, sample))
        }
    }

    private mutating func jitter() -> Int64 {
        Int64(-noise * Double.random(in: 0.000_001..<1, using: &random).logarithm)
    }
}

extension Double {
    /// The natural one of a number from 0 to 1, by its series: no C library in tests of pure code.
    fileprivate var logarithm: Double {
        let parts = (significand, Double(exponent))
        let ratio = (parts.0 - 1) / (parts.0 + 1)
        var (sum, power) = (0.0, ratio)
        for odd in stride(from: 1.0, through: 15, by: 2) {
            sum += power / odd
            power *= ratio * ratio
        }
        return 2 * sum + parts.1 * 0.693_147_180_559_945
    }
}

extension ArraySlice<FollowedLink.Point> {
    /// The share of time in which it is so.
    func share(where holds: (FollowedLink.Point) -> Bool) -> Double {
        Double(self.count { holds($0) }) / Double(Swift.max(count, 1))
    }

    var rates: ClosedRange<Double> {
        let all = map { Double($0.rate) }
        return (all.min() ?? 0)...(all.max() ?? 0)
    }

    /// Bits per second.
    var throughput: Double { reduce(0) { $0 + $1.delivered } * 1_000 / Double(Swift.max(count, 1)) }

    /// In milliseconds, that so many percent of the time are not above.
    func queue(percentile: Int) -> Double {
        let sorted = map(\.queue).sorted()
        return sorted.isEmpty
            ? 0 : Double(sorted[Swift.min(sorted.count * percentile / 100, sorted.count - 1)]) / 1e6
    }
}
