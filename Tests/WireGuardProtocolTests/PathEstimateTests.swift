import Testing

@testable import WireGuardProtocol

@Suite struct PathEstimateTests {
    /// RFC 6298, section 2: the first answer is taken as it is, later ones by an eighth.
    @Test func roundTripIsSmoothed() {
        var estimator = PathEstimator()
        estimator.note(roundTrip: 80 * millisecond, transit: 0, now: second)
        #expect(estimator.estimate.roundTrip == 80 * millisecond)
        #expect(estimator.estimate.roundTripVariation == 40 * millisecond)
        estimator.note(roundTrip: 160 * millisecond, transit: 0, now: 2 * second)
        #expect(estimator.estimate.roundTrip == 90 * millisecond)
        #expect(estimator.estimate.roundTripVariation == 50 * millisecond)
        #expect(estimator.estimate.roundTripMin == 80 * millisecond)
        #expect(estimator.estimate.answerCount == 2)
    }

    @Test func answerTimeIsBetweenItsBounds() {
        var estimate = PathEstimate()
        #expect(estimate.answerTimeout == second)
        estimate.answerCount = 1
        for (roundTrip, variation, expected) in [
            (0, 0, 100), (1, 0, 100), (200, 0, 250), (200, 100, 600), (1_900, 100, 2_000),
            (60_000, 60_000, 2_000),
        ] as [(UInt64, UInt64, UInt64)] {
            estimate.roundTrip = roundTrip * millisecond
            estimate.roundTripVariation = variation * millisecond
            #expect(estimate.answerTimeout == expected * millisecond)
        }
    }

    @Test func leastRoundTripIsOfTheLastMinutes() {
        var estimator = PathEstimator()
        func least(_ milliseconds: UInt64, at seconds: UInt64) -> UInt64 {
            estimator.note(
                roundTrip: milliseconds * millisecond, transit: 0, now: seconds * second)
            return estimator.estimate.roundTripMin / millisecond
        }
        #expect(least(10, at: 1) == 10)
        #expect(least(30, at: 31) == 10)
        #expect(least(30, at: 62) == 10, "of the minute before")
        #expect(least(30, at: 123) == 30)
        #expect(least(5, at: 124) == 5)
        #expect(least(30, at: 3_600) == 30, "an hour later")
    }

    /// RFC 3550, section 6.4.1.
    @Test func jitterIsOfDifferencesOfTransit() {
        var estimator = PathEstimator()
        let offset: Int64 = -(1 << 60)
        for (index, transit) in [0, 16, 0, 16].enumerated() {
            estimator.note(
                roundTrip: 0, transit: offset + Int64(transit) * 1_000_000,
                now: UInt64(index) * second)
        }
        let expected = 15.0 / 16 * (15.0 / 16 + 1) + 1
        #expect(abs(Double(estimator.estimate.jitter) - expected * 1e6) < 20)
    }

    /// The peer's clock counts from its start, and runs a little faster or slower than ours.
    @Test func clocksThatBeginAnewOrDriftAreNoJitter() {
        var estimator = PathEstimator()
        let transits: [Int64] = [0, .max, .min, 5 * 1_000_000_000, -1]
        for (index, transit) in transits.enumerated() {
            estimator.note(roundTrip: 0, transit: transit, now: UInt64(index) * second)
        }
        #expect(estimator.estimate.jitter == 0)
        estimator.note(roundTrip: 0, transit: 400_000_000, now: 3_600 * second)
        #expect(estimator.estimate.jitter == 0, "an hour's drift")
    }

    @Test func lossIsOfTheLastSeconds() throws {
        var estimator = PathEstimator()
        var counts: (expected: UInt64, received: UInt64) = (1_000, 900)
        func note(_ expected: UInt64, _ received: UInt64, at seconds: UInt64) -> Double? {
            counts.expected += expected
            counts.received += received
            estimator.note(
                session: 7, expected: counts.expected, received: counts.received,
                now: seconds * second)
            return estimator.estimate.lossShare
        }
        #expect(note(0, 0, at: 1) == nil, "what was before is nobody's")
        #expect(note(100, 70, at: 2) == 0.3)
        // What is late was not lost.
        #expect(note(0, 30, at: 2) == 0)
        #expect(note(100, 50, at: 3) == 0.25)
        #expect(note(100, 100, at: 30) == 0)
    }

    @Test func countsOfAnotherSessionAreNoLoss() {
        var estimator = PathEstimator()
        for (session, expected, received) in [
            (1, 100, 100), (1, 200, 200), (2, 5_000, 10), (2, 5_000, 10), (1, 300, 0),
            (1, 200, 100), (1, .max, .max), (1, 0, 0),
        ] as [(UInt32, UInt64, UInt64)] {
            estimator.note(session: session, expected: expected, received: received, now: second)
        }
        #expect(estimator.estimate.lossShare == 0)
    }
}
