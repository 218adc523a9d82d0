/// How many values were at most each of some bounds, and how many above all.
struct Histogram {
    private(set) var counts: [UInt64]
    let bounds: [Double]

    /// - Parameter counts: As many as bounds and one more; missing ones are zero.
    init(counts: [UInt64], bounds: [Double]) {
        let present = Array(counts.prefix(bounds.count + 1))
        self.counts = present + repeatElement(0, count: bounds.count + 1 - present.count)
        self.bounds = bounds
    }

    var total: UInt64 { counts.reduce(0) { $0 &+ $1 } }

    /// A value below which a share of all lies.
    struct Quantile {
        /// In the unit of the bounds.
        let value: Double
        /// Whether the true one is above all bounds, of which `value` is the last.
        let isBeyond: Bool
    }

    /// The least bound that no value is above; `nil` of nothing, infinite where one is above all.
    var upperBound: Double? {
        guard let last = counts.lastIndex(where: { $0 > 0 }) else { return nil }
        return last < bounds.count ? bounds[last] : .infinity
    }

    /// - Parameters:
    ///   - share: 0.5 for the median.
    ///   - limit: What no value is above, where it is known better than by the bounds.
    /// - Returns: `nil` of nothing. Within a bucket values are taken to be spread evenly.
    func quantile(_ share: Double, atMost limit: Double = .infinity) -> Quantile? {
        let total = total
        guard total > 0, let last = bounds.last else { return nil }
        let rank = share * Double(total)
        var below = 0.0
        for (index, bound) in bounds.enumerated() {
            let count = Double(counts[index])
            if count > 0, below + count >= rank {
                let lower = index > 0 ? bounds[index - 1] : 0
                let value = lower + (bound - lower) * max(rank - below, 0) / count
                return Quantile(value: min(value, limit), isBeyond: false)
            }
            below += count
        }
        return limit.isFinite
            ? Quantile(value: limit, isBeyond: false) : Quantile(value: last, isBeyond: true)
    }

    /// What came since an older look; everything where the counter began anew.
    func since(_ old: Histogram) -> Histogram {
        let isOlder = zip(old.counts, counts).allSatisfy { $0 <= $1 }
        guard isOlder else { return self }
        return Histogram(counts: zip(counts, old.counts).map { $0 - $1 }, bounds: bounds)
    }

    static func + (left: Histogram, right: Histogram) -> Histogram {
        Histogram(
            counts: zip(left.counts, right.counts).map { $0 &+ $1 }, bounds: left.bounds)
    }
}

extension Text {
    /// A time in the unit that fits: "420 µs", "4.2 ms", "1.3 s"; a dash where it is not known.
    static func time(seconds: Double?, isBeyond: Bool = false) -> String {
        guard let seconds else { return "-" }
        let words =
            switch seconds {
            case ..<0.001: "\(decimal(seconds * 1_000_000, 0)) µs"
            case ..<0.01: "\(decimal(seconds * 1_000, 1)) ms"
            case ..<1: "\(decimal(seconds * 1_000, 0)) ms"
            case ..<120: "\(decimal(seconds, 1)) s"
            default: shortDuration(seconds: UInt64(min(seconds, 1e15)))
            }
        return isBeyond ? "> \(words)" : words
    }

    static func time(nanoseconds: UInt64?) -> String {
        time(seconds: nanoseconds.map { Double($0) / 1e9 })
    }

    /// - Parameter unit: Of the quantile, in seconds.
    static func time(_ quantile: Histogram.Quantile?, unit: Double = 1) -> String {
        time(seconds: quantile.map { $0.value * unit }, isBeyond: quantile?.isBeyond ?? false)
    }
}
