import Testing

@testable import PathBenchmark

@Suite struct ProbeLedgerTests {
    /// A ledger of probes sent 1000 ns apart that took so long; `nil` of lost ones.
    private static func ledger(_ roundTrips: [UInt64?]) -> ProbeLedger {
        var ledger = ProbeLedger()
        for (index, roundTrip) in roundTrips.enumerated() {
            let number = ledger.send(at: UInt64(index) * 1000)
            #expect(number == UInt64(index))
            if let roundTrip {
                let isNew = ledger.receive(number, at: UInt64(index) * 1000 + roundTrip)
                #expect(isNew)
            }
        }
        return ledger
    }

    @Test func nothingIsKnownWithoutProbes() {
        #expect(ProbeLedger().summary == nil)
        #expect(ProbeLedger().isComplete)
    }

    @Test func lostProbesAreCounted() throws {
        let ledger = Self.ledger([10, nil, 30, nil])
        let summary = try #require(ledger.summary)
        #expect(!ledger.isComplete)
        #expect(summary.probeCount == 4 && summary.lostCount == 2 && summary.lossShare == 0.5)
        #expect(summary.times?.least == 10 && summary.times?.most == 30)
        #expect(summary.times?.jitter == 20)
    }

    @Test func withoutAnswersThereAreNoTimes() throws {
        let summary = try #require(Self.ledger([nil, nil, nil]).summary)
        #expect(summary.times == nil && summary.lossShare == 1)
    }

    @Test func percentilesAreNearestRanks() throws {
        let times = try #require(Self.ledger((1...1000).reversed().map { $0 }).summary?.times)
        #expect(times.p50 == 500 && times.p95 == 950 && times.p99 == 990 && times.most == 1000)
        #expect(times.least == 1 && times.jitter == 1)
        let pair = try #require(Self.ledger([7, 9]).summary?.times)
        #expect(pair.p50 == 7 && pair.p95 == 9 && pair.p99 == 9 && pair.jitter == 2)
        let one = try #require(Self.ledger([5]).summary?.times)
        #expect(one.least == 5 && one.p50 == 5 && one.p99 == 5 && one.jitter == 0)
    }

    @Test func answersCountOnce() {
        var ledger = Self.ledger([nil])
        let answers = [ledger.receive(0, at: 50), ledger.receive(0, at: 60)]
        #expect(answers == [true, false])
        #expect(ledger.summary?.times?.most == 50)
    }

    @Test(arguments: [UInt64(1), 2, .max])
    func numbersThatWereNeverSentAreRefused(number: UInt64) {
        var ledger = Self.ledger([nil])
        let isCounted = ledger.receive(number, at: 50)
        #expect(!isCounted)
        #expect(ledger.summary?.lostCount == 1)
    }

    @Test func clocksThatStepBackGiveZero() {
        var ledger = ProbeLedger()
        let number = ledger.send(at: 100)
        _ = ledger.receive(number, at: 99)
        #expect(ledger.summary?.times?.most == 0)
    }
}
