import PacketFormats

/// What one direction of the network does to each packet.
struct Impairments {
    struct Faults {
        var delayNanoseconds: UInt64
        /// How far the delay strays to either side; at most the delay.
        var jitterNanoseconds: UInt64
        /// Whether each packet draws its own delay, so that they overtake each other.
        var isJitterReordering: Bool
        var lossShare: Double
        var reorderedShare: Double
        /// How much longer than others a reordered packet takes.
        var reorderingNanoseconds: UInt64
        /// Share of ECN-capable packets that get a mark.
        var markedShare: Double
    }

    enum Fate {
        case lost
        case delivered(due: UInt64, isReordered: Bool)
    }

    let faults: Faults
    private let draws: SeededDraws
    /// Due time of the latest packet that keeps its place.
    private var latestDue: UInt64 = 0
    private var packetNumber: UInt64 = 0

    init(_ faults: Faults, draws: SeededDraws) {
        self.faults = faults
        self.draws = draws
    }

    /// Decides over the next packet.
    ///
    /// - Parameters:
    ///   - now: Nanoseconds since the relay began.
    ///   - mark: Called for a packet that is to be marked and goes on.
    mutating func decide(now: UInt64, mark: () -> Void) -> Fate {
        let number = packetNumber
        packetNumber += 1
        if draws.unit(.loss, number) < faults.lossShare { return .lost }
        if draws.unit(.mark, number) < faults.markedShare { mark() }
        if faults.isJitterReordering {
            let stray = draws.unit(.jitter, number) * 2 - 1
            return .delivered(due: now + delay(stray: stray), isReordered: false)
        }
        if draws.unit(.reordering, number) < faults.reorderedShare {
            let due = now + delay(stray: wander(at: now)) + faults.reorderingNanoseconds
            return .delivered(due: due, isReordered: true)
        }
        latestDue = max(latestDue, now + delay(stray: wander(at: now)))
        return .delivered(due: latestDue, isReordered: false)
    }

    /// - Parameter stray: From -1 to 1.
    private func delay(stray: Double) -> UInt64 {
        let jitter = Double(faults.jitterNanoseconds) * stray
        return UInt64(max(0, Double(faults.delayNanoseconds) + jitter))
    }

    /// A delay that strays on its own for each packet and must keep their order would soon stand at
    /// its largest. So it wanders, as that of a queue on the way does: on straight lines between
    /// points drawn at random, none so steep that a packet would overtake another.
    ///
    /// - Returns: From -1 to 1.
    private func wander(at now: UInt64) -> Double {
        guard faults.jitterNanoseconds > 0 else { return 0 }
        let interval = faults.jitterNanoseconds * Self.jittersBetweenPoints
        let point = now / interval
        let share = Double(now % interval) / Double(interval)
        let (from, to) = (draws.unit(.jitter, point), draws.unit(.jitter, point + 1))
        return (from + (to - from) * share) * 2 - 1
    }

    /// From one point to the next the delay changes by two jitters at most, half of this.
    private static let jittersBetweenPoints: UInt64 = 4
}
