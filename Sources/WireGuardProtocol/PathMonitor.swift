import PacketFormats

/// Measures the way to one peer of profile `branchline`, and how large datagrams may be on it.
///
/// Small probes go often while there is traffic, seldom after it, and not at all when it has been
/// quiet for long: an idle peer is not kept awake by being measured. Probes of size leave together
/// with a small one, by which a lost probe is told from a lost path.
///
/// Pure: time, traffic and answers are arguments; ``advance(now:traffic:)`` returns what to send.
struct PathMonitor {
    private(set) var search: PathMTUSearch
    private var estimator = PathEstimator()
    private var waiting: [Waiting] = []
    private var nextNumber: UInt32
    /// When the next small probe leaves; the end of time while the peer is quiet.
    private var probeAt: UInt64 = 0
    private var lastProbeAt: UInt64 = 0
    /// Traffic when it was last judged, when that was, and when there last was some.
    private var traffic: UInt64 = 0
    private var trafficAt: UInt64 = 0
    private var activeAt: UInt64 = 0
    private var isActive = false
    /// Between small probes while there is traffic.
    private var activeInterval: UInt64
    /// When sizes may be probed again after a round that said nothing, and how long the next such
    /// round is waited after.
    private var searchAt: UInt64 = 0
    private var searchPause = Self.searchPauseMin
    /// Somebody has answered from where the peer is said to be now. Before that nothing large goes
    /// there: whoever can forge a source would have us send it to a victim.
    private var isReached = true
    /// Share of small probes that had no answer lately, 0 to 1.
    private var unansweredShare = 0.0

    /// A probe without an answer so far.
    private struct Waiting {
        let number: UInt32
        /// 0 for a small one.
        let size: Int
        /// The small one that left with it, and whether it was answered.
        let companion: UInt32
        var isCompanionAnswered = false
        /// When one of size counts as lost; the end of time once it does. An answer is still
        /// taken then, since on a slow path what is long comes much later than what is short.
        var lostAt: UInt64
        /// When an answer says nothing any more.
        let forgottenAt: UInt64

        var deadline: UInt64 { min(lostAt, forgottenAt) }
        var isTried: Bool { size > 0 && lostAt != .max }
    }

    /// - Parameters:
    ///   - ipOverhead: Bytes of IP and UDP headers outside.
    ///   - packetMax: The longest inner packet, padding included.
    ///   - firstNumber: Of the first probe: a random one, so that answers to a former monitor's
    ///     are nobody's.
    ///   - activeInterval: Between small probes while there is traffic, in nanoseconds.
    init(
        ipOverhead: Int, packetMax: Int, firstNumber: UInt32,
        activeInterval: UInt64 = Self.activeInterval, now: UInt64
    ) {
        self.activeInterval = Self.bounded(activeInterval)
        search = Self.makeSearch(ipOverhead, packetMax)
        nextNumber = firstNumber
        activeAt = now
    }

    /// Every path carries as much as one of IPv6 must; what carries less is rare.
    static let pathMTUMin = IPPacket.ipv6MTUMin
    /// With the answer a small probe is 200 bytes, with IPv4 and UDP.
    static let activeInterval: UInt64 = 500 * ProtocolConstants.millisecond
    static let activeIntervalMin: UInt64 = 10 * ProtocolConstants.millisecond
    /// After traffic, and for how long: 800 bit/s each way with both ends probing.
    static let quietInterval: UInt64 = 2 * ProtocolConstants.second
    static let quietTime: UInt64 = 20 * ProtocolConstants.second
    /// What a path in use carries in ``activeInterval``, whatever the pace.
    static let activeBytes: UInt64 = 1_500
    /// How long an answer may take to say something: a path that has become slow is still measured.
    static let answerTimeMax: UInt64 = 2 * ProtocolConstants.second
    /// No more than these are open, however slow the path is or the pace quick.
    static let waitingMax = 32
    /// The rest is for probes of size.
    static let smallWaitingMax = 28
    /// After a round of size probes whose small companions were lost, too; doubled while nothing is
    /// answered, since such a peer may not know probes at all.
    static let searchPauseMin: UInt64 = 250 * ProtocolConstants.millisecond
    static let searchPauseMax: UInt64 = 16 * ProtocolConstants.second
    /// How many more probes of one size must be lost where all small ones are lost as well. Of a
    /// path that loses three of ten each way, three in a row would say something every few seconds.
    static let lossesMore = 12.0
    /// The longest IP packet.
    private static let packetBytesMax = 65_535

    var estimate: PathEstimate {
        var estimate = estimator.estimate
        estimate.datagramByteCountMax = search.current
        estimate.isDatagramSizeConfirmed = search.isConfirmed
        return estimate
    }

    /// The longest inner packet that a datagram may carry, padding included.
    var packetMax: Int { search.current - WireGuardMessage.TransportData.overhead }

    /// When ``advance(now:traffic:)`` has something to do; the end of time for never.
    var nextDeadline: UInt64 {
        var deadline = probeAt
        for one in waiting { deadline = min(deadline, one.deadline) }
        if maySearch {
            deadline = min(deadline, max(search.nextDeadline(isActive: isActive), searchAt))
        }
        return deadline
    }

    /// Whether there is traffic, no size is being tried, and room for one and its companion.
    private var maySearch: Bool {
        isReached && probeAt != .max && waiting.count + 2 <= Self.waitingMax
            && !waiting.contains(where: \.isTried)
    }

    private static func makeSearch(_ ipOverhead: Int, _ packetMax: Int) -> PathMTUSearch {
        PathMTUSearch(
            floor: pathMTUMin - ipOverhead,
            ceiling: min(
                min(packetMax, packetBytesMax) + WireGuardMessage.TransportData.overhead,
                packetBytesMax - ipOverhead))
    }

    /// The path is another one, or the tunnel's own MTU; arguments as in
    /// ``init(ipOverhead:packetMax:firstNumber:activeInterval:now:)``.
    mutating func restart(ipOverhead: Int, packetMax: Int, now: UInt64) {
        search = Self.makeSearch(ipOverhead, packetMax)
        estimator.beginAnew()
        waiting.removeAll()
        searchAt = 0
        searchPause = Self.searchPauseMin
        wake(now: now)
    }

    /// The peer is said to be elsewhere, where nobody has answered: answers from where it was say
    /// nothing any more. ``restart(ipOverhead:packetMax:now:)`` follows.
    mutating func move() {
        waiting.removeAll()
        isReached = false
    }

    /// Sets the time between small probes while there is traffic, in nanoseconds: no less than
    /// ``activeIntervalMin`` and no more than ``quietInterval``.
    mutating func setActiveInterval(_ nanoseconds: UInt64) {
        activeInterval = Self.bounded(nanoseconds)
        guard isActive, probeAt != .max else { return }
        probeAt = MonotonicTime.adding(activeInterval, to: lastProbeAt)
    }

    private static func bounded(_ interval: UInt64) -> UInt64 {
        min(max(interval, activeIntervalMin), quietInterval)
    }

    /// There is traffic after a time without: looks at the path at once.
    mutating func wake(now: UInt64) {
        activeAt = now
        let earliest = MonotonicTime.adding(activeInterval, to: lastProbeAt)
        // Also after a clock that went back.
        let isFirst = lastProbeAt == 0 || lastProbeAt > now
        probeAt = min(probeAt, isFirst ? now : max(now, earliest))
    }

    /// Does what is due.
    ///
    /// - Parameter traffic: What the peer has carried, in bytes, without control frames.
    /// - Returns: Probes to send, in order.
    mutating func advance(now: UInt64, traffic: UInt64) -> [PathProbe] {
        expire(now)
        var probes: [PathProbe] = []
        if probeAt <= now {
            noteActivity(traffic, now)
            if waiting.count < Self.smallWaitingMax {
                probes.append(makeProbe(size: 0, companion: 0, now))
            }
        }
        guard maySearch, searchAt <= now, let size = search.probe(now: now, isActive: isActive)
        else { return probes }
        // One that is lost is lost with its companion unless its size is the reason.
        let companion = probes.first ?? makeProbe(size: 0, companion: 0, now)
        if probes.isEmpty { probes.append(companion) }
        probes.append(makeProbe(size: size, companion: companion.number, now))
        return probes
    }

    /// Takes an answer of the peer, whatever it says.
    ///
    /// - Parameter arrivedAt: On the clock that `sentAt` is of.
    /// - Returns: What it says of the path; `nil` if nobody asked.
    mutating func take(_ answer: PathAnswer, arrivedAt: UInt64, now: UInt64) -> PathSample? {
        guard let place = waiting.firstIndex(where: { $0.number == answer.number }) else {
            return nil
        }
        let asked = waiting.remove(at: place)
        estimator.note(
            session: answer.session, expected: answer.expectedCount,
            received: answer.receivedCount, now: now)
        guard asked.size == 0 else {
            takeSize(asked.size, answer, now)
            return nil
        }
        guard let sample = PathSample(answer, arrivedAt: arrivedAt) else { return nil }
        for index in waiting.indices where waiting[index].companion == answer.number {
            waiting[index].isCompanionAnswered = true
        }
        if searchPause > Self.searchPauseMin {
            searchPause = Self.searchPauseMin
            searchAt = min(searchAt, MonotonicTime.adding(searchPause, to: now))
        }
        isReached = true
        unansweredShare *= 15 / 16
        estimator.note(roundTrip: sample.roundTrip, transit: sample.transit, now: now)
        return sample
    }

    private mutating func takeSize(_ size: Int, _ answer: PathAnswer, _ now: UInt64) {
        guard Int(answer.datagramByteCount) == size else { return pauseSearch(now) }
        search.arrived(size, now: now)
    }

    /// A probe did not leave: it will not be answered, which says nothing of the path.
    mutating func forget(_ probe: PathProbe, now: UInt64) {
        guard let place = waiting.firstIndex(where: { $0.number == probe.number }) else { return }
        if waiting.remove(at: place).size > 0 { pauseSearch(now) }
    }

    private mutating func expire(_ now: UInt64) {
        for index in waiting.indices where waiting[index].isTried && waiting[index].lostAt <= now {
            waiting[index].lostAt = .max
            if waiting[index].isCompanionAnswered {
                let lossesMax =
                    PathMTUSearch.lossesMax + Int(Self.lossesMore * unansweredShare)
                search.lost(waiting[index].size, now: now, lossesMax: lossesMax)
            } else {
                pauseSearch(now)
            }
        }
        for one in waiting where one.size == 0 && one.forgottenAt <= now {
            unansweredShare += (1 - unansweredShare) / 16
        }
        waiting.removeAll { $0.forgottenAt <= now }
    }

    private mutating func pauseSearch(_ now: UInt64) {
        searchAt = MonotonicTime.adding(searchPause, to: now)
        searchPause = min(searchPause * 2, Self.searchPauseMax)
    }

    /// Sets the pace by what the peer has carried lately.
    private mutating func noteActivity(_ traffic: UInt64, _ now: UInt64) {
        let isCarrying = traffic > self.traffic && traffic - self.traffic > Self.activeBytes
        let age = MonotonicTime.elapsed(from: trafficAt, to: now)
        if isCarrying || age >= Self.activeInterval {
            isActive = isCarrying
            (self.traffic, trafficAt) = (traffic, now)
        }
        if isActive { activeAt = now }
        lastProbeAt = now
        let quiet = MonotonicTime.elapsed(from: activeAt, to: now)
        probeAt = quiet > Self.quietTime
            ? .max
            : MonotonicTime.adding(isActive ? activeInterval : Self.quietInterval, to: now)
    }

    private mutating func makeProbe(size: Int, companion: UInt32, _ now: UInt64) -> PathProbe {
        nextNumber &+= 1
        let timeout = estimator.estimate.answerTimeout
        waiting.append(
            Waiting(
                number: nextNumber, size: size, companion: companion,
                lostAt: size > 0 ? MonotonicTime.adding(timeout, to: now) : .max,
                forgottenAt: MonotonicTime.adding(Self.answerTimeMax, to: now)))
        if size == 0 { estimator.noteProbe() }
        return PathProbe(number: nextNumber, datagramByteCount: size)
    }
}

/// What one answer says of the path.
public struct PathSample: Sendable, Hashable {
    /// There and back, without the time that the peer kept the answer back, in nanoseconds.
    public let roundTrip: UInt64
    /// From here to the peer, in nanoseconds, by two clocks: only differences mean something.
    public let transit: Int64

    /// - Parameter arrivedAt: Microseconds of the clock that the probe was stamped by.
    /// - Returns: `nil` where the answer contradicts itself, or comes after a minute.
    init?(_ answer: PathAnswer, arrivedAt: UInt64) {
        guard answer.sentAt <= arrivedAt else { return nil }
        let whole = arrivedAt - answer.sentAt
        guard whole <= 60_000_000, UInt64(answer.heldMicroseconds) <= whole else { return nil }
        roundTrip = (whole - UInt64(answer.heldMicroseconds)) * 1_000
        let (difference, _) = answer.receivedAt.subtractingReportingOverflow(answer.sentAt)
        transit = Int64(bitPattern: difference).multipliedReportingOverflow(by: 1_000).partialValue
    }
}
