/// The inverse of a distribution function: sizes at rising fractions, straight lines between.
public struct QuantileTable: Sendable, Equatable {
    /// One point of the table.
    struct Point: Sendable, Equatable {
        /// Share of samples that are at most `size`, from 0 to 1.
        let fraction: Double
        /// In tokens.
        let size: Double
    }

    /// Ascending in both parts; the first fraction is 0, the last 1.
    let points: [Point]

    /// Sizes at every fiftieth, then the tail at 99, 99.5 and 99.9 %, and the largest.
    init(fiftieths: [Double], tail: [Double]) {
        let body = fiftieths.enumerated().map { index, size in
            Point(fraction: Double(index) / 50, size: size)
        }
        points = body + zip([0.99, 0.995, 0.999, 1], tail).map(Point.init)
    }

    /// The size that `fraction` of all samples do not exceed, in tokens, at least 1.
    /// - Parameter fraction: From 0 to 1; values outside are clamped.
    public func size(at fraction: Double) -> Int {
        let fraction = min(max(fraction, 0), 1)
        guard let upper = points.firstIndex(where: { $0.fraction >= fraction }), upper > 0 else {
            return max(1, Int(points[0].size))
        }
        let (low, high) = (points[upper - 1], points[upper])
        let share = (fraction - low.fraction) / (high.fraction - low.fraction)
        return max(1, Int((low.size + share * (high.size - low.size)).rounded()))
    }
}
