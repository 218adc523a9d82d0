/// How long packets to some peers wait on a line that all of them leave by: what their ways take
/// now, less what they take when nothing waits.
///
/// A peer's baselines fall at once and rise slowly, and not at all while packets are late. The
/// outward one holds the offset of two clocks, which drifts; that of the round trip does not, but
/// holds the way back. What waits outward lengthens both, so the lesser of the two counts: neither
/// drift nor a queue on the way back looks like one of ours, and a peer that only says that its
/// probes came late changes nothing.
struct DelayBaselines {
    /// The queue that the peers agree on.
    struct Reading {
        /// Above the baselines, in nanoseconds.
        var delay: Int64
        /// What may be without a queue.
        var tolerance: Int64
        /// When the probe left.
        var sentAt: UInt64
    }

    private struct Entry {
        var outward: Int64
        var roundTrip: Int64
        var delay: Int64 = 0
        /// Mean change from one sample to the next.
        var jitter: Int64 = 0
        var sentAt: UInt64
        var heardAt: UInt64
    }

    private var entries: [UInt64: Entry] = [:]

    /// - Parameters:
    ///   - isIdle: Nothing of ours waits on the line, so that what is seen is the baseline.
    ///   - standing: What waits on the line by what others say, so that a peer who comes meanwhile
    ///     does not take a full queue for none; 0 where packets are not late.
    mutating func note(
        _ sample: DelaySample, key: UInt64, isIdle: Bool, standing: Int64, now: UInt64
    ) {
        let outward = max(-Self.nanosecondsMax, min(sample.outwardDelay, Self.nanosecondsMax))
        let roundTrip = Int64(min(sample.roundTrip, UInt64(Self.nanosecondsMax)))
        let sentAt = now &- min(now, UInt64(roundTrip))
        guard var entry = entries[key] else {
            guard makeRoom(now: now) else { return }
            entries[key] = Entry(
                outward: outward - standing, roundTrip: max(0, roundTrip - standing),
                delay: standing, sentAt: sentAt, heardAt: now)
            return
        }
        let elapsed = now &- min(now, entry.heardAt)
        func follow(_ baseline: inout Int64, _ value: Int64) {
            let above = value - baseline
            if above < 0 {
                baseline = value
            } else if isIdle {
                baseline += above / Self.idleRiseDivisor
            } else if standing == 0 {
                baseline += min(above, Int64(elapsed / Self.riseDivisor))
            }
        }
        follow(&entry.outward, outward)
        follow(&entry.roundTrip, roundTrip)
        let delay = min(outward - entry.outward, roundTrip - entry.roundTrip)
        if standing == 0 {
            let change = min(abs(delay - entry.delay), Self.jitterMax * 4)
            entry.jitter += (change - entry.jitter) / Self.jitterDivisor
        }
        entry.delay = delay
        entry.sentAt = sentAt
        entry.heardAt = now
        entries[key] = entry
    }

    /// The lower median of peers heard of lately. All that waits on the line delays all of them, so
    /// a minority says nothing about it: neither a peer behind a slow line of its own nor one that
    /// keeps answers back.
    ///
    /// - Parameter start: Probes that left before do not count.
    /// - Complexity: O(n log n) in ``peersMax``.
    func reading(sentSince start: UInt64, now: UInt64) -> Reading? {
        let earliest = now &- min(now, Self.freshNanoseconds)
        let fresh = entries.values.lazy
            .filter { $0.heardAt >= earliest && $0.sentAt >= start }
            .map { entry in
                Reading(
                    delay: entry.delay,
                    tolerance: Self.lateNanoseconds
                        + Self.jitterShare * min(entry.jitter, Self.jitterMax),
                    sentAt: entry.sentAt)
            }
            .sorted { $0.delay - $0.tolerance < $1.delay - $1.tolerance }
        return fresh.isEmpty ? nil : fresh[(fresh.count - 1) / 2]
    }

    /// Takes what is seen now for what the ways take.
    mutating func adopt() {
        for key in entries.keys {
            guard let delay = entries[key]?.delay else { continue }
            entries[key]?.outward += delay
            entries[key]?.roundTrip += delay
            entries[key]?.delay = 0
        }
    }

    mutating func forget(_ key: UInt64) { entries[key] = nil }

    mutating func forgetAll() { entries = [:] }

    /// - Returns: `false` if all that are known were heard of lately.
    private mutating func makeRoom(now: UInt64) -> Bool {
        guard entries.count >= Self.peersMax else { return true }
        guard let oldest = entries.min(by: { $0.value.heardAt < $1.value.heardAt }),
            oldest.value.heardAt &+ Self.quietNanoseconds < now
        else { return false }
        entries[oldest.key] = nil
        return true
    }

    /// More would say no more about one line.
    static let peersMax = 64
    /// Whose place another may have.
    private static let quietNanoseconds: UInt64 = 10_000_000_000
    /// Two probes at their widest spacing, 500 ms.
    private static let freshNanoseconds: UInt64 = 1_000_000_000
    /// A baseline rises by 1/4,000, a quarter of a millisecond each second: five times as fast as
    /// bad clocks drift apart, 50 ppm, and slow beside any queue.
    private static let riseDivisor: UInt64 = 4_000
    /// On an idle line, by an eighth of what is missing with each sample.
    private static let idleRiseDivisor: Int64 = 8
    /// Far above the wake-up times and the slots of most lines, and little beside what people and
    /// token streams notice. cake-autorate's examples have 15 to 75 ms.
    private static let lateNanoseconds: Int64 = 15_000_000
    /// Of jitter, as RFC 3550 counts it, what makes no packet late; and the most of it, so that a
    /// queue that comes and goes does not become what is usual.
    private static let jitterShare: Int64 = 3
    private static let jitterMax: Int64 = 10_000_000
    private static let jitterDivisor: Int64 = 16
    /// So that no sum overflows, whatever a peer says.
    private static let nanosecondsMax: Int64 = 1 << 60
}
