/// Which probes were sent, and how long each took to come back.
public struct ProbeLedger: Sendable {
    /// By number, in nanoseconds of the caller's clock.
    private var sent: [UInt64] = []
    /// By number; `nil` of those that have not come back.
    private var roundTrips: [UInt64?] = []

    public init() {}

    /// - Returns: The number of the next probe.
    public mutating func send(at now: UInt64) -> UInt64 {
        sent.append(now)
        roundTrips.append(nil)
        return UInt64(sent.count - 1)
    }

    /// - Returns: `false` for a number that was never sent, or has come back before.
    public mutating func receive(_ number: UInt64, at now: UInt64) -> Bool {
        guard number < sent.count, roundTrips[Int(number)] == nil else { return false }
        let began = sent[Int(number)]
        roundTrips[Int(number)] = now > began ? now - began : 0
        return true
    }

    public var isComplete: Bool { !roundTrips.contains(nil) }

    /// Nothing without probes.
    public var summary: RoundTrips? {
        if sent.isEmpty { return nil }
        return RoundTrips(probeCount: sent.count, nanoseconds: roundTrips.compactMap(\.self))
    }
}

/// Round trips, summed up.
public struct RoundTrips: Hashable, Sendable {
    public let probeCount: Int
    public let lostCount: Int
    /// The other figures; `nil` where nothing has come back.
    public let times: Times?

    /// In nanoseconds.
    public struct Times: Hashable, Sendable {
        public let least: UInt64
        public let p50: UInt64
        public let p95: UInt64
        public let p99: UInt64
        public let most: UInt64
        /// How much one round trip differs from the one before, on average.
        public let jitter: UInt64
    }

    /// - Parameter nanoseconds: Of those that came back, in the order in which they were sent.
    init(probeCount: Int, nanoseconds: [UInt64]) {
        self.probeCount = probeCount
        lostCount = probeCount - nanoseconds.count
        let sorted = nanoseconds.sorted()
        guard let least = sorted.first, let most = sorted.last else {
            times = nil
            return
        }
        let differences = zip(nanoseconds, nanoseconds.dropFirst()).map { before, after in
            before > after ? before - after : after - before
        }
        let sum = differences.reduce(0, &+)
        times = Times(
            least: least, p50: Self.percentile(50, of: sorted),
            p95: Self.percentile(95, of: sorted), p99: Self.percentile(99, of: sorted), most: most,
            jitter: differences.isEmpty ? 0 : sum / UInt64(differences.count))
    }

    /// 0 to 1.
    public var lossShare: Double { Double(lostCount) / Double(probeCount) }

    /// The nearest rank: the least value that so many percent do not exceed.
    ///
    /// - Parameter sorted: Ascending, and not empty.
    private static func percentile(_ percent: Int, of sorted: [UInt64]) -> UInt64 {
        let rank = (percent * sorted.count + 99) / 100
        return sorted[min(max(rank - 1, 0), sorted.count - 1)]
    }
}
