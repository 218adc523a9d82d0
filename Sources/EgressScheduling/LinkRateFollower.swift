/// Follows a line whose rate changes: raises the rate while packets are not late and the line is
/// used, and cuts it when they are.
///
/// With each round of samples, in this order:
/// 1. What left since is measured, and each peer's delay above its baseline.
/// 2. Several late rounds of the latest few: the line is congested. Unless what waits is leaving
///    fast enough by itself, the rate becomes a share of what the line carried: what we sent, less
///    what went into its queue. How fast the queue grew or shrank says how much that was.
/// 3. Not late again: the rate is what the line carried while it emptied, nearly.
/// 4. Not late, and most of the rate used: it is raised by a step; a small one about where it was
///    cut last.
///
/// Besides, by the clock: the rate of a line of which little is used goes back to where it started,
/// and one that is used while all probes are lost is cut.
///
/// Who may make it err: a peer that keeps its answers back, where it is the only one or more than
/// half of them do, looks like a full line and brings the rate down to the minimum. Half of them,
/// or one alone, can hide a queue by saying that their probes came in time, and then the rate is at
/// most the maximum, as if it was not followed. Fewer change nothing.
///
/// Source of the idea, and of the constants where it says so: cake-autorate's description
/// (github.com/lynxthecat/cake-autorate), which does the same by pinging public hosts. That the
/// slope of the delay tells a rate is from the theory of self-induced congestion (Jain and
/// Dovrolis, "Pathload", 2002).
public struct LinkRateFollower: Sendable {
    /// Why the rate is another one.
    public enum Cause: Sendable, Hashable {
        case raised
        /// Packets were so many nanoseconds late.
        case late(UInt64)
        /// No probe was answered although the line was used.
        case silence
        /// Little is used, or no peer measures any more: back towards the start.
        case idle
    }

    public struct Change: Sendable, Hashable {
        public var cause: Cause
        /// Monotonic nanoseconds.
        public var at: UInt64
    }

    private struct Round {
        var delay: Int64
        var tolerance: Int64
        var sentAt: UInt64
        var at: UInt64
        var bytesSent: UInt64

        /// 0: not late; 2: so late that no noise explains it.
        var weight: Int {
            delay <= tolerance ? 0 : delay <= Self.veryLateFactor * tolerance ? 1 : 2
        }

        private static let veryLateFactor: Int64 = 4
    }

    public let minimum: Int64
    public let starting: Int64
    public let maximum: Int64
    /// Of the line, now.
    public private(set) var bitsPerSecond: Int64
    /// The latest; `nil` before the first.
    public private(set) var latestChange: Change?

    private var baselines = DelayBaselines()
    private var rounds: [Round] = []
    /// How late the latest round was, in nanoseconds; 0 where it was not.
    private var standing: Int64 = 0
    /// The first and the latest late round since the rate was cut.
    private var drain: (first: Round, last: Round)?
    /// Cuts in a row, and the rate before the first of them.
    private var cutCount = 0
    private var rateBeforeCut: Int64 = 0
    /// What the line carried when packets were late.
    private var knee: Double?
    private var changedAt: UInt64 = 0
    private var cutAt: UInt64 = 0
    /// Of packets that are late without a cut.
    private var lateSince: UInt64?
    private var heardAt: UInt64?
    /// When the first and the latest probe left since an answer came.
    private var unanswered: (first: UInt64, last: UInt64)?
    private var silentCuts = 0
    /// Bytes sent and when, of the latest measurement of what is achieved.
    private var mark: (bytes: UInt64, at: UInt64)?
    /// Bits per second.
    private var achieved = 0.0
    /// Since when little of the rate is used, and less than the minimum is: so little that nothing
    /// of ours can wait on the line.
    private var lightSince: UInt64?
    private var idleSince: UInt64?
    private var checkedAt: UInt64 = 0

    /// - Parameters: Of the line in bits per second. What contradicts is brought in order: the
    ///   minimum is at least 1, the maximum not below it, the start between them.
    public init(minimum: Int64, starting: Int64, maximum: Int64) {
        self.minimum = max(1, minimum)
        self.maximum = max(self.minimum, min(maximum, LinkShape.bitsPerSecondMax))
        self.starting = max(self.minimum, min(starting, self.maximum))
        bitsPerSecond = self.starting
    }

    /// Goes on from a rate that another one had, brought into range. What it measured is not
    /// known here.
    public mutating func resume(at rate: Int64) {
        bitsPerSecond = max(minimum, min(rate, maximum))
    }

    /// Forgets what is usual for a peer: its way is another one.
    public mutating func forget(peer: Int32, tunnel: Int32 = 0) {
        baselines.forget(Self.key(peer, tunnel))
    }

    private static func key(_ peer: Int32, _ tunnel: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: tunnel)) << 32 | UInt64(UInt32(bitPattern: peer))
    }

    /// Takes a sample.
    ///
    /// - Parameters:
    ///   - tunnel: Whose peer it is of: several may share the line.
    ///   - bytesSent: By the line, ever.
    ///   - now: Monotonic nanoseconds, when the answer came.
    /// - Returns: The rate, if it is another one.
    public mutating func note(
        _ sample: DelaySample, tunnel: Int32 = 0, bytesSent: UInt64, now: UInt64
    ) -> Int64? {
        measure(bytesSent, now)
        heardAt = now
        unanswered = nil
        silentCuts = 0
        let key = Self.key(sample.peer, tunnel)
        let isIdle = Self.lasts(idleSince, now)
        baselines.note(sample, key: key, isIdle: isIdle, standing: standing, now: now)
        guard now >= (rounds.last?.at ?? 0) &+ Self.roundNanoseconds,
            let reading = baselines.reading(sentSince: cutAt, now: now)
        else { return nil }
        if rounds.count == Self.roundsMax { rounds.removeFirst() }
        let packets = 2 * Int64(clamping: LinkShape(bitsPerSecond: bitsPerSecond).packetNanoseconds)
        let round = Round(
            delay: reading.delay, tolerance: reading.tolerance + packets, sentAt: reading.sentAt,
            at: now, bytesSent: bytesSent)
        rounds.append(round)
        standing = round.weight > 0 ? round.delay : 0
        return judge(round, now)
    }

    /// Says that a probe leaves. Without it, no silence is taken for a fault of the line: that no
    /// answers come says nothing while nobody asks.
    public mutating func noteProbe(now: UInt64) {
        unanswered = (unanswered?.first ?? now, now)
    }

    /// When ``expire(bytesSent:now:)`` wants to be called; `nil` while nothing is to be done
    /// without samples.
    public var nextTimeout: UInt64? {
        heardAt == nil && bitsPerSecond == starting ? nil : checkedAt &+ Self.checkNanoseconds
    }

    /// Does what is due without a sample.
    ///
    /// - Returns: The rate, if it is another one.
    public mutating func expire(bytesSent: UInt64, now: UInt64) -> Int64? {
        guard let nextTimeout, now >= nextTimeout else { return nil }
        checkedAt = now
        measure(bytesSent, now)
        if let heardAt, now &- heardAt >= Self.forgottenNanoseconds {
            self.heardAt = nil
            baselines.forgetAll()
            rounds = []
            standing = 0
            endEpisode()
        }
        let isLightlyUsed = standing == 0 && Self.lasts(lightSince, now)
        return heardAt == nil || isLightlyUsed ? decay(now) : judgeSilence(now)
    }

    // MARK: - What leaves

    private mutating func measure(_ bytesSent: UInt64, _ now: UInt64) {
        guard let last = mark else { return mark = (bytesSent, now) }
        let elapsed = now &- min(now, last.at)
        guard elapsed >= Self.meterNanoseconds else { return }
        mark = (bytesSent, now)
        let bytes = bytesSent &- min(bytesSent, last.bytes)
        achieved = Self.rate(bytes: bytes, nanoseconds: elapsed)
        let isLight = achieved < Self.lightShare * Double(bitsPerSecond)
        lightSince = isLight ? lightSince ?? now : nil
        idleSince = achieved < Self.fullShare * Double(minimum) ? idleSince ?? now : nil
    }

    /// Bits per second, within what numbers can hold.
    private static func rate(bytes: UInt64, nanoseconds: UInt64) -> Double {
        min(Double(bytes) * 8e9 / Double(max(nanoseconds, 1)), 1e15)
    }

    /// Whether it is so for as long as it takes until nothing waits on the line any more.
    private static func lasts(_ since: UInt64?, _ now: UInt64) -> Bool {
        since.map { now &- min(now, $0) >= idleNanoseconds } ?? false
    }

    private var isLoaded: Bool { achieved >= Self.loadedShare * Double(bitsPerSecond) }

    // MARK: - What a round says

    private mutating func judge(_ last: Round, _ now: UInt64) -> Int64? {
        if last.weight > 0, cutCount > 0 { drain = (drain?.first ?? last, last) }
        let lateCount = rounds.count { $0.weight > 0 }
        if lateCount >= 2, rounds.reduce(0, { $0 + $1.weight }) >= Self.congestedWeight {
            return judgeCongestion(last, now)
        }
        lateSince = nil
        // The latest two, as one early packet says as little as a late one.
        guard rounds.count >= 2, rounds.suffix(2).allSatisfy({ $0.weight == 0 }) else {
            return nil
        }
        if let rate = recovered() {
            endEpisode()
            if rate > bitsPerSecond { return set(rate, .raised, now) }
        }
        endEpisode()
        return lateCount == 0 ? raise(last, now) : nil
    }

    private mutating func judgeCongestion(_ last: Round, _ now: UInt64) -> Int64? {
        let since = lateSince ?? now
        lateSince = since
        if now &- since >= Self.stuckNanoseconds {
            // A route has changed, or others' packets wait: nothing to be gained by sending less.
            baselines.adopt()
            rounds = []
            standing = 0
            endEpisode()
            return nil
        }
        // What is sent below the minimum is not what waits.
        guard last.weight > 0, achieved >= Self.fullShare * Double(minimum),
            now >= cutAt &+ Self.refractoryNanoseconds
        else { return nil }
        // From where the queue began to grow, if that is seen.
        let start = max(0, (rounds.firstIndex { $0.weight > 0 } ?? 0) - 1)
        let slope = Self.slope(rounds[start], last)
        // What the cut before did must be known.
        guard cutCount == 0 || slope != nil, !isEmptyingSoon(last, slope ?? 0) else { return nil }
        let carried = achieved / (1 + max(0, min(slope ?? 0, Self.slopeMax)))
        knee = min(carried, Double(maximum))
        let seconds = Double(last.delay) / 1e9
        let wanted = max(seconds / Self.drainSeconds, Self.cutMin * Double(cutCount + 1))
        let rate = max(minimum, Int64(carried * (1 - min(wanted, Self.cutMax))))
        guard rate < bitsPerSecond else { return nil }
        if cutCount == 0 { rateBeforeCut = bitsPerSecond }
        cutCount += 1
        cutAt = now
        rounds = []
        drain = nil
        lateSince = nil
        return set(rate, .late(UInt64(last.delay)), now)
    }

    /// Seconds by which the delay grows each second; `nil` where the rounds do not tell.
    private static func slope(_ first: Round, _ last: Round) -> Double? {
        guard last.sentAt >= first.sentAt &+ slopeNanoseconds else { return nil }
        return Double(last.delay - first.delay) / Double(last.sentAt &- first.sentAt)
    }

    private func isEmptyingSoon(_ last: Round, _ slope: Double) -> Bool {
        Double(last.delay) + slope * Self.emptyingSeconds * 1e9 < Double(last.tolerance)
    }

    /// What the line carried while its queue became shorter, nearly, and at most what was before.
    private func recovered() -> Int64? {
        guard let drain, cutCount > 0, let slope = Self.slope(drain.first, drain.last),
            slope < -Self.emptyingSlopeMin
        else { return nil }
        let bytes = drain.last.bytesSent &- min(drain.last.bytesSent, drain.first.bytesSent)
        let sent = Self.rate(bytes: bytes, nanoseconds: drain.last.at &- drain.first.at)
        let carried = sent / (1 + max(slope, -Self.emptyingSlopeMax))
        return min(Int64(carried * (1 - Self.cutMin)), rateBeforeCut)
    }

    private mutating func endEpisode() {
        drain = nil
        cutCount = 0
        lateSince = nil
    }

    private mutating func raise(_ last: Round, _ now: UInt64) -> Int64? {
        guard bitsPerSecond < maximum, isLoaded, last.sentAt >= changedAt,
            now >= changedAt &+ Self.raiseNanoseconds
        else { return nil }
        let rate = Double(bitsPerSecond)
        let isNear = knee.map { Self.kneeRange.contains(rate / max($0, 1)) } ?? false
        let perSecond = isNear ? Self.raisePerSecondNear : Self.raisePerSecond
        let seconds = Double(min(now &- changedAt, Self.raiseNanosecondsMax)) / 1e9
        return set(Int64(rate * (1 + perSecond * seconds)) + 1, .raised, now)
    }

    // MARK: - Without samples

    private mutating func decay(_ now: UInt64) -> Int64? {
        let step = max(1, Int64(Double(bitsPerSecond) * Self.decayStep))
        let rate = bitsPerSecond < starting
            ? min(bitsPerSecond + step, starting) : max(bitsPerSecond - step, starting)
        return set(rate, .idle, now)
    }

    private mutating func judgeSilence(_ now: UInt64) -> Int64? {
        guard let unanswered, isLoaded, silentCuts < Self.silentCutsMax,
            now >= max(unanswered.first, changedAt) &+ Self.silenceNanoseconds,
            now &- min(now, unanswered.last) < Self.silenceNanoseconds
        else { return nil }
        silentCuts += 1
        return set(Int64(Double(bitsPerSecond) * Self.silenceShare), .silence, now)
    }

    private mutating func set(_ rate: Int64, _ cause: Cause, _ now: UInt64) -> Int64? {
        let new = max(minimum, min(rate, maximum))
        guard new != bitsPerSecond else { return nil }
        bitsPerSecond = new
        changedAt = now
        latestChange = Change(cause: cause, at: now)
        return new
    }

    // MARK: - Constants

    /// Samples of many peers are judged together.
    private static let roundNanoseconds: UInt64 = 100_000_000
    /// Six samples and three late ones, as cake-autorate has it.
    private static let roundsMax = 6
    private static let congestedWeight = 3
    /// As cake-autorate has it. Besides, only probes that left after a cut count after it.
    private static let refractoryNanoseconds: UInt64 = 300_000_000
    /// What is achieved is measured over at least as long; cake-autorate: 200 ms.
    private static let meterNanoseconds: UInt64 = 200_000_000
    /// From here on the line counts as used; cake-autorate: 75 percent.
    private static let loadedShare = 0.75
    /// Below it the rate goes back to its start, as nobody would notice if it is too high.
    private static let lightShare = 0.2
    private static let idleNanoseconds: UInt64 = 3_000_000_000
    /// What a full line shows of its rate: less than what the shaper uses of it.
    private static let fullShare = 0.9

    /// A tenth is taken away for a short queue, as cake-autorate does; and more for a longer one,
    /// so that it has left within about this time, or where the cut before was not enough, but no
    /// more than two fifths.
    private static let cutMin = 0.1
    private static let cutMax = 0.4
    private static let drainSeconds = 1.0
    /// No cut while what waits will have left after this time.
    private static let emptyingSeconds = 2.0
    /// Steeper growth is not told from a burst.
    private static let slopeMax = 9.0
    /// Over less time the slope of two samples is noise.
    private static let slopeNanoseconds: UInt64 = 200_000_000
    private static let emptyingSlopeMin = 0.02
    private static let emptyingSlopeMax = 0.8

    /// Long enough to see what the one before did, where round trips are short.
    private static let raiseNanoseconds: UInt64 = 250_000_000
    /// And what counts of a longer time: with rare probes a step too far is seen late.
    private static let raiseNanosecondsMax: UInt64 = 500_000_000
    /// A rate of a quarter is made good within five seconds, and what is too much in the second
    /// until it is seen queues for about a sixth of a second.
    private static let raisePerSecond = 0.32
    /// About where the rate was cut it is near the line's: what is too much queues for a
    /// twenty-fifth of a second.
    private static let raisePerSecondNear = 0.08
    private static let kneeRange = 0.85...1.15

    /// Each second, when little is used: a rate of a quarter is the starting one after half a
    /// minute.
    private static let decayStep = 0.05
    private static let checkNanoseconds: UInt64 = 1_000_000_000
    /// Four probes at their widest spacing.
    private static let silenceNanoseconds: UInt64 = 2_000_000_000
    private static let silenceShare = 0.75
    /// To a quarter: whether probes are lost or peers have gone is not known.
    private static let silentCutsMax = 5
    /// Nobody measures any more.
    private static let forgottenNanoseconds: UInt64 = 30_000_000_000
    /// Late without a cut for so long: not by what we send.
    private static let stuckNanoseconds: UInt64 = 10_000_000_000
}
