/// What is known of the way to a peer and back, by probes.
///
/// Source: RFC 6298, section 2 (round trip), RFC 3550, section 6.4.1 (jitter).
public struct PathEstimate: Sendable, Hashable {
    /// Smoothed round trip, its mean deviation and the least of the last minute or two, in
    /// nanoseconds. The time that either end took to answer is not in it.
    public var roundTrip: UInt64 = 0
    public var roundTripVariation: UInt64 = 0
    public var roundTripMin: UInt64 = 0
    /// How much the time from here to the peer differs from one probe to the next, in nanoseconds.
    public var jitter: UInt64 = 0
    /// Share of messages from here that did not arrive, 0 to 1, of the last ten seconds or so;
    /// `nil` before there were any.
    public var lossShare: Double?
    /// Probes, and answers to them.
    public var probeCount: UInt64 = 0
    public var answerCount: UInt64 = 0
    /// UDP payload bytes of the longest datagram that is sent, and whether such a one has passed.
    public var datagramByteCountMax = 0
    public var isDatagramSizeConfirmed = false

    /// How long the answer to a probe of size may take before the probe counts as lost, in
    /// nanoseconds.
    ///
    /// Source: RFC 6298, section 2.3, with a floor for what a busy processor adds.
    var answerTimeout: UInt64 {
        guard answerCount > 0 else { return Self.firstTimeout }
        let timeout = roundTrip &+ max(4 &* roundTripVariation, Self.timeoutSlack)
        return min(max(timeout, Self.timeoutMin), Self.timeoutMax)
    }

    private static let firstTimeout: UInt64 = ProtocolConstants.second
    private static let timeoutSlack: UInt64 = 50 * ProtocolConstants.millisecond
    private static let timeoutMin: UInt64 = 100 * ProtocolConstants.millisecond
    private static let timeoutMax: UInt64 = 2 * ProtocolConstants.second
}

/// Makes of single answers all of an estimate but the sizes.
struct PathEstimator {
    private(set) var estimate = PathEstimate()
    /// The next round trip is the first of its path.
    private var isFirst = true
    private var lastTransit: Int64?
    private var lastAt: UInt64 = 0
    /// The least round trip of this minute, and since when it counts.
    private var minimum: UInt64 = .max
    private var minimumSince: UInt64 = 0
    private var session: UInt32?
    private var counts: (expected: UInt64, received: UInt64) = (0, 0)
    /// Messages of this half of the window, of the half before, and since when this one counts.
    private var recent = Losses()
    private var before = Losses()
    private var recentSince: UInt64 = 0

    private struct Losses {
        var expected = 0.0
        /// Less than none where more arrived late than was lost.
        var lost = 0.0
    }

    private static let minimumWindow: UInt64 = 60 * ProtocolConstants.second
    private static let lossHalfWindow: UInt64 = 5 * ProtocolConstants.second
    /// Differences that no path makes: a clock began anew, or has drifted since the last answer.
    private static let transitStepMax: UInt64 = 2 * ProtocolConstants.second
    private static let transitAgeMax: UInt64 = 10 * ProtocolConstants.second

    /// The path is another one: the next answer is its first. What is counted goes on.
    mutating func beginAnew() { isFirst = true }

    mutating func noteProbe() { estimate.probeCount &+= 1 }

    /// - Parameters:
    ///   - roundTrip: In nanoseconds, without what the peer kept the answer back.
    ///   - transit: From here to the peer, in nanoseconds and of unknown offset.
    mutating func note(roundTrip: UInt64, transit: Int64, now: UInt64) {
        if isFirst {
            estimate.roundTrip = roundTrip
            estimate.roundTripVariation = roundTrip / 2
            estimate.jitter = 0
            lastTransit = nil
        } else {
            let old = estimate.roundTrip
            let deviation = old > roundTrip ? old - roundTrip : roundTrip - old
            estimate.roundTripVariation = estimate.roundTripVariation / 4 * 3 + deviation / 4
            estimate.roundTrip = old / 8 * 7 + roundTrip / 8
        }
        noteTransit(transit, now)
        noteMinimum(roundTrip, now)
        isFirst = false
        estimate.answerCount &+= 1
    }

    private mutating func noteTransit(_ transit: Int64, _ now: UInt64) {
        defer { (lastTransit, lastAt) = (transit, now) }
        guard let lastTransit, MonotonicTime.elapsed(from: lastAt, to: now) <= Self.transitAgeMax
        else { return }
        let difference = transit.subtractingReportingOverflow(lastTransit).partialValue.magnitude
        guard difference <= Self.transitStepMax else { return }
        estimate.jitter = estimate.jitter / 16 * 15 + difference / 16
    }

    private mutating func noteMinimum(_ roundTrip: UInt64, _ now: UInt64) {
        let age = MonotonicTime.elapsed(from: minimumSince, to: now)
        if isFirst || age > Self.minimumWindow {
            // What is older than two windows is nothing of lately.
            let isForgotten = isFirst || age > 2 * Self.minimumWindow
            estimate.roundTripMin = isForgotten ? roundTrip : min(minimum, roundTrip)
            minimum = .max
            minimumSince = now
        }
        minimum = min(minimum, roundTrip)
        estimate.roundTripMin = min(estimate.roundTripMin, roundTrip)
    }

    /// Takes up what the peer has counted of one session.
    mutating func note(session: UInt32, expected: UInt64, received: UInt64, now: UInt64) {
        // Always the latest, also of an answer that was overtaken: whatever a peer has said, the
        // next honest answer but one counts.
        defer {
            self.session = session
            counts = (expected, received)
        }
        guard session == self.session, expected >= counts.expected, received >= counts.received
        else { return }
        let age = MonotonicTime.elapsed(from: recentSince, to: now)
        if age >= Self.lossHalfWindow {
            before = age < 2 * Self.lossHalfWindow ? recent : Losses()
            recent = Losses()
            recentSince = now
        }
        let newExpected = Double(expected - counts.expected)
        recent.expected += newExpected
        // What arrives late was counted as lost before.
        recent.lost = max(
            recent.lost + newExpected - Double(received - counts.received), -max(before.lost, 0))
        let total = recent.expected + before.expected
        guard total > 0 else { return }
        estimate.lossShare = min(max(0, (recent.lost + before.lost) / total), 1)
    }
}
