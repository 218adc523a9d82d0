/// How much later than due packets left, in steps of ten microseconds.
struct Lateness {
    private var steps = [UInt64](repeating: 0, count: Self.stepCount)
    private var count: UInt64 = 0
    private(set) var maxNanoseconds: UInt64 = 0

    mutating func note(nanoseconds: UInt64) {
        steps[Int(min(nanoseconds / Self.stepNanoseconds, UInt64(Self.stepCount - 1)))] += 1
        count += 1
        maxNanoseconds = max(maxNanoseconds, nanoseconds)
    }

    /// - Returns: Upper bound of the step that the quantile lies in, at most the maximum.
    func microseconds(atQuantile quantile: Double) -> Double {
        let rank = UInt64((Double(count) * quantile).rounded(.up))
        var seen: UInt64 = 0
        for (step, here) in steps.enumerated() {
            seen += here
            guard seen >= rank else { continue }
            let bound = UInt64(step + 1) * Self.stepNanoseconds
            return Double(step == Self.stepCount - 1 ? maxNanoseconds : min(bound, maxNanoseconds))
                / 1_000
        }
        return Double(maxNanoseconds) / 1_000
    }

    private static let stepNanoseconds: UInt64 = 10_000
    /// The last step holds everything above 20 ms.
    private static let stepCount = 2_001
}
