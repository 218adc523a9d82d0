/// Durations in buckets that are at most a 128th wide, from a nanosecond to centuries, in fixed
/// memory.
public struct LatencyHistogram: Sendable {
    private var counts = [UInt64](repeating: 0, count: Self.bucketCount)
    public private(set) var count: UInt64 = 0
    public private(set) var maxNanoseconds: UInt64 = 0
    private var sumNanoseconds = 0.0

    public init() {}

    public mutating func record(nanoseconds: UInt64) {
        counts[Self.bucket(of: nanoseconds)] += 1
        count += 1
        sumNanoseconds += Double(nanoseconds)
        maxNanoseconds = max(maxNanoseconds, nanoseconds)
    }

    public mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        sumNanoseconds += other.sumNanoseconds
        maxNanoseconds = max(maxNanoseconds, other.maxNanoseconds)
    }

    /// The duration that a share of all do not exceed.
    ///
    /// - Parameter quantile: From 0 to 1.
    /// - Returns: Upper bound of the bucket that it lies in, at most the maximum; `nil` when
    ///   nothing was recorded.
    public func nanoseconds(atQuantile quantile: Double) -> UInt64? {
        guard count > 0 else { return nil }
        let rank = max(1, UInt64((Double(count) * min(max(quantile, 0), 1)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, here) in counts.enumerated() {
            seen += here
            if seen >= rank { return min(Self.upperBound(of: index), maxNanoseconds) }
        }
        return maxNanoseconds
    }

    public var meanNanoseconds: Double? { count > 0 ? sumNanoseconds / Double(count) : nil }

    /// Values up to 255 have a bucket each; every further power of two has 128.
    private static func bucket(of value: UInt64) -> Int {
        guard value >= 256 else { return Int(value) }
        let shift = 56 - value.leadingZeroBitCount
        return (shift << 7) + Int(value >> UInt64(shift))
    }

    private static func upperBound(of bucket: Int) -> UInt64 {
        guard bucket >= 256 else { return UInt64(bucket) }
        let shift = UInt64(bucket >> 7) - 1
        let mantissa = UInt64(bucket & 127) + 128
        return (mantissa << shift) + ((1 << shift) - 1)
    }

    private static let bucketCount = (56 << 7) + 256
}
