/// How often values were at most each of some bounds.
///
/// One writer at a time; callers lock.
///
/// Source: Prometheus, "Histograms and summaries".
public struct Histogram: Hashable, Sendable {
    /// Upper bounds, ascending, in the unit of the values.
    public let bounds: [Double]
    /// For each bound, how many values were at most that and above the bound before; at the end,
    /// how many were above all.
    public private(set) var counts: [UInt64]
    public private(set) var sum = 0.0

    public init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    public var count: UInt64 { counts.reduce(0, &+) }

    /// - Complexity: O(bounds).
    public mutating func record(_ value: Double) {
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        counts[index] &+= 1
        sum += value
    }

    /// From half a millisecond to half a minute, for answers that people or programs wait for.
    public static var latencySeconds: [Double] {
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30]
    }
}
