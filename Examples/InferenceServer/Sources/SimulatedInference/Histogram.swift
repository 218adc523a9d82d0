/// A Prometheus histogram with fixed borders.
struct Histogram: Sendable, Equatable {
    /// Upper borders of the buckets, ascending; a last bucket takes what is above.
    let borders: [Double]
    /// Samples in each bucket, one more than there are borders.
    private(set) var counts: [UInt64]
    private(set) var sum = 0.0

    init(borders: [Double]) {
        self.borders = borders
        counts = [UInt64](repeating: 0, count: borders.count + 1)
    }

    /// All samples so far.
    var count: UInt64 { counts.reduce(0, +) }

    mutating func observe(_ value: Double) {
        let bucket = borders.firstIndex { value <= $0 } ?? borders.count
        counts[bucket] += 1
        sum += value
    }
}
