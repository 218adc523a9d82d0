/// Finds how large a datagram may be on the way to a peer, by probes of the size in question.
///
/// Sizes are of UDP payloads in bytes. The largest that the tunnel sends is tried first and, until
/// it has been lost, assumed to pass: most paths carry it, and a host that was once told of a
/// smaller MTU keeps to that for minutes. After a loss the smallest is used while sizes are tried
/// by halving the range. A probe is lost only where a small one that left beside it was answered:
/// what a full queue or a dead path loses says nothing of sizes.
///
/// Source: RFC 8899, sections 4.3 (black holes), 5.1 (timers and counts) and 5.2 (phases).
struct PathMTUSearch {
    /// Datagrams to the peer are no longer than this.
    private(set) var current: Int
    /// Datagrams are never kept smaller than this. Where it does not pass either, they are left to
    /// the network to fragment.
    let floor: Int
    /// The longest that the tunnel sends.
    let ceiling: Int

    /// The largest size that has passed; 0 before the first, and after a black hole.
    private var passing = 0
    /// The smallest size that was lost; one more than ``ceiling`` before the first.
    private var failing: Int
    /// Probes of one size that were lost in a row.
    private var lossCount = 0
    private var lossSize = 0
    /// Not even ``floor`` passes; it is used for want of anything better.
    private var isFloorLost = false
    /// When the size in use is confirmed once more, and when the one that failed is tried again.
    private var confirmAt: UInt64 = 0
    private var raiseAt: UInt64 = .max

    /// - Parameters:
    ///   - floor: At least 1.
    ///   - ceiling: What is less than `floor` counts as `floor`.
    init(floor: Int, ceiling: Int) {
        self.floor = floor
        self.ceiling = max(floor, ceiling)
        current = self.ceiling
        failing = self.ceiling + 1
    }

    /// Probes of one size that are lost before it counts as too large, where little else is lost
    /// (MAX_PROBES).
    static let lossesMax = 3
    /// Sizes closer than this are not told apart.
    static let step = 8
    /// When a size that failed is tried again: it is three datagrams (PMTU_RAISE_TIMER is ten
    /// minutes there).
    static let raiseNanoseconds: UInt64 = 60 * ProtocolConstants.second
    /// How often the size in use is confirmed while there is traffic: three losses in a row make a
    /// black hole, and that is to be found within three seconds.
    static let confirmNanoseconds: UInt64 = 500 * ProtocolConstants.millisecond

    /// Whether the size in use has passed.
    var isConfirmed: Bool { isSettled && !isFloorLost }
    /// Whether the largest size that passes is known, to within ``step``.
    var isComplete: Bool {
        isSettled && (passing >= ceiling || failing <= ceiling && failing - passing <= Self.step)
    }
    /// Whether there is a size to go on from: one that passed, or the last resort.
    private var isSettled: Bool { passing >= current }
    /// The size in use was lost, and it is not clear yet whether it passes no more: that is found
    /// out even if nothing else is sent, as by a TCP sender that waits for what the path swallowed.
    private var isInDoubt: Bool { lossCount > 0 && lossSize == current }

    /// The size of the probe that is due; `nil` where none is.
    ///
    /// - Parameter isActive: Whether the tunnel carries traffic at the moment.
    func probe(now: UInt64, isActive: Bool) -> Int? {
        if !isSettled || isInDoubt { return current }
        if !isComplete { return candidate }
        if raiseAt <= now, failing <= ceiling { return failing }
        return isActive && confirmAt <= now ? current : nil
    }

    /// When ``probe(now:isActive:)`` has something to say; 0 for now, the end of time for never.
    func nextDeadline(isActive: Bool) -> UInt64 {
        guard isComplete, !isInDoubt else { return 0 }
        return isActive ? min(confirmAt, raiseAt) : raiseAt
    }

    /// Between what passes and what does not, in whole steps.
    private var candidate: Int {
        guard failing <= ceiling else { return ceiling }
        return passing + max(Self.step, (failing - passing) / 2 / Self.step * Self.step)
    }

    /// A datagram of that size arrived.
    mutating func arrived(_ size: Int, now: UInt64) {
        guard size >= floor, size <= ceiling else { return }
        lossCount = 0
        if failing <= size || isFloorLost { failing = ceiling + 1 }
        isFloorLost = false
        passing = max(passing, size)
        current = max(current, passing)
        settle(now)
    }

    /// A datagram of that size was lost, and a small one was not.
    ///
    /// - Parameter lossesMax: After how many in a row the size counts as too large.
    mutating func lost(_ size: Int, now: UInt64, lossesMax: Int = Self.lossesMax) {
        lossCount = size == lossSize ? lossCount + 1 : 1
        lossSize = size
        guard lossCount >= lossesMax else { return }
        lossCount = 0
        if size <= floor {
            isFloorLost = true
            current = floor
            passing = floor
            failing = floor + 1
        } else {
            failing = min(failing, size)
            if size <= current {
                current = floor
                passing = 0
            }
            raiseAt = .max
        }
        settle(now)
    }

    private mutating func settle(_ now: UInt64) {
        confirmAt = MonotonicTime.adding(Self.confirmNanoseconds, to: now)
        if !isComplete || failing > ceiling {
            raiseAt = .max
        } else if raiseAt == .max {
            raiseAt = MonotonicTime.adding(Self.raiseNanoseconds, to: now)
        }
    }
}
