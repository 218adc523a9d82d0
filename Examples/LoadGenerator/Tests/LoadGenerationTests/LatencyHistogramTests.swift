import Testing

@testable import LoadGeneration

@Suite struct LatencyHistogramTests {
    /// Against sorting, at sizes from one sample to many and scales from nanoseconds to hours.
    @Test(arguments: [1, 2, 99, 1_000, 20_000], [UInt64(200), 1_000_000, 10_000_000_000_000])
    func quantilesAreThoseOfTheSortedSamples(count: Int, scale: UInt64) throws {
        var generator = SystemRandomNumberGenerator()
        let samples = (0..<count).map { _ in UInt64.random(in: 0...scale, using: &generator) }
        var histogram = LatencyHistogram()
        for sample in samples { histogram.record(nanoseconds: sample) }
        let sorted = samples.sorted()
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1] {
            let exact = sorted[max(1, Int((Double(count) * quantile).rounded(.up))) - 1]
            let shown = try #require(histogram.nanoseconds(atQuantile: quantile))
            #expect(shown >= exact, "\(quantile) of \(count)")
            #expect(Double(shown) <= Double(exact) * (1 + 1.0 / 128) + 1, "\(quantile)")
        }
        #expect(histogram.nanoseconds(atQuantile: 1) == sorted.last)
        #expect(histogram.count == UInt64(count))
    }

    @Test func extremesHaveTheirPlace() {
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: 0)
        histogram.record(nanoseconds: .max)
        #expect(histogram.nanoseconds(atQuantile: 0) == 0)
        #expect(histogram.nanoseconds(atQuantile: 1) == .max)
    }

    @Test func bucketBordersKeepTheirValues() {
        for value in [255, 256, 257, 511, 512, 65_535, 65_536] as [UInt64] {
            var histogram = LatencyHistogram()
            histogram.record(nanoseconds: value)
            #expect(histogram.nanoseconds(atQuantile: 0.5) == value)
        }
    }

    @Test func nothingRecordedHasNoQuantile() {
        #expect(LatencyHistogram().nanoseconds(atQuantile: 0.5) == nil)
        #expect(LatencyHistogram().meanNanoseconds == nil)
    }

    @Test func sumsHoldBoth() {
        var one = LatencyHistogram()
        var other = LatencyHistogram()
        one.record(nanoseconds: 100)
        other.record(nanoseconds: 200)
        one.add(other)
        #expect(one.count == 2 && one.maxNanoseconds == 200 && one.meanNanoseconds == 150)
    }
}
