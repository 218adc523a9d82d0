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
    /// Traffic at the last small probe, and when there last was some.
    private var traffic: UInt64 = 0
    private var activeAt: UInt64 = 0
    private var isActive = false
    /// Between small probes while there is traffic.
    var activeInterval: UInt64
    /// When sizes may be probed again after a round that said nothing.
    private var searchAt: UInt64 = 0

    /// A probe without an answer so far.
    private struct Waiting {
        let number: UInt32
        let deadline: UInt64
        /// 0 for a small one.
        let size: Int
        /// The small one that left with it, and whether it was answered.
        let companion: UInt32
        var isCompanionAnswered = false
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
        self.activeInterval = activeInterval
        search = Self.makeSearch(ipOverhead, packetMax)
        nextNumber = firstNumber
        activeAt = now
        noteSize()
    }

    /// Every path carries this much (RFC 8200, section 5); what carries less is rare.
    static let pathMTUMin = 1_280
    /// With the answer a small probe is 200 bytes, with IPv4 and UDP.
    static let activeInterval: UInt64 = 500 * ProtocolConstants.millisecond
    /// After traffic, and for how long: 800 bit/s each way with both ends probing.
    static let quietInterval: UInt64 = 2 * ProtocolConstants.second
    static let quietTime: UInt64 = 20 * ProtocolConstants.second
    /// What is carried between two probes of a path in use.
    static let activeBytes: UInt64 = 1_500
    /// How long an answer may take to say something: a path that has become slow is still measured.
    static let answerTimeMax: UInt64 = 2 * ProtocolConstants.second
    /// A peer that answers nothing has no more than these open.
    static let waitingMax = 32
    /// After a round of size probes whose small companions were lost, too.
    static let searchPause: UInt64 = 250 * ProtocolConstants.millisecond

    var estimate: PathEstimate { estimator.estimate }

    /// The longest inner packet that a datagram may carry, padding included.
    var packetMax: Int { search.current - WireGuardMessage.TransportData.overhead }

    /// When ``advance(now:traffic:)`` has something to do; the end of time for never.
    var nextDeadline: UInt64 {
        var deadline = probeAt
        for one in waiting { deadline = min(deadline, one.deadline) }
        if !waiting.contains(where: { $0.size > 0 }), probeAt != .max {
            deadline = min(deadline, max(search.nextDeadline(isActive: isActive), searchAt))
        }
        return deadline
    }

    private static func makeSearch(_ ipOverhead: Int, _ packetMax: Int) -> PathMTUSearch {
        PathMTUSearch(
            floor: pathMTUMin - ipOverhead,
            ceiling: packetMax + WireGuardMessage.TransportData.overhead)
    }

    /// The path is another one, or the tunnel's own MTU, or the pace; arguments as in
    /// ``init(ipOverhead:packetMax:firstNumber:activeInterval:now:)``.
    mutating func restart(
        ipOverhead: Int, packetMax: Int, activeInterval: UInt64 = Self.activeInterval, now: UInt64
    ) {
        self.activeInterval = activeInterval
        search = Self.makeSearch(ipOverhead, packetMax)
        waiting.removeAll()
        searchAt = 0
        noteSize()
        wake(now: now)
    }

    /// There is traffic after a time without: looks at the path at once.
    mutating func wake(now: UInt64) {
        activeAt = now
        let earliest = MonotonicTime.adding(activeInterval, to: lastProbeAt)
        probeAt = min(probeAt, lastProbeAt == 0 ? now : max(now, earliest))
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
            probes.append(makeProbe(size: 0, companion: 0, now))
        }
        guard probeAt != .max, searchAt <= now, !waiting.contains(where: { $0.size > 0 }),
            let size = search.probe(now: now, isActive: isActive)
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
        guard let sample = PathSample(answer, arrivedAt: arrivedAt) else { return nil }
        if asked.size == 0 {
            for index in waiting.indices where waiting[index].companion == answer.number {
                waiting[index].isCompanionAnswered = true
            }
            estimator.note(roundTrip: sample.roundTrip, transit: sample.transit, now: now)
        } else if Int(answer.datagramByteCount) == asked.size {
            search.arrived(asked.size, now: now)
            noteSize()
        }
        estimator.note(
            session: answer.session, expected: answer.expectedCount,
            received: answer.receivedCount, now: now)
        return asked.size == 0 ? sample : nil
    }

    private mutating func expire(_ now: UInt64) {
        guard waiting.contains(where: { $0.deadline <= now }) else { return }
        for one in waiting where one.deadline <= now && one.size > 0 {
            if one.isCompanionAnswered {
                search.lost(one.size, now: now)
            } else {
                searchAt = MonotonicTime.adding(Self.searchPause, to: now)
            }
        }
        waiting.removeAll { $0.deadline <= now }
        noteSize()
    }

    /// Sets the pace by what the peer has carried since the last small probe.
    private mutating func noteActivity(_ traffic: UInt64, _ now: UInt64) {
        let carried = traffic > self.traffic ? traffic - self.traffic : 0
        self.traffic = traffic
        isActive = carried > Self.activeBytes
        if isActive { activeAt = now }
        lastProbeAt = now
        let quiet = MonotonicTime.elapsed(from: activeAt, to: now)
        probeAt = quiet > Self.quietTime
            ? .max
            : MonotonicTime.adding(isActive ? activeInterval : Self.quietInterval, to: now)
    }

    private mutating func makeProbe(size: Int, companion: UInt32, _ now: UInt64) -> PathProbe {
        nextNumber &+= 1
        let timeout = size > 0 ? estimator.estimate.answerTimeout : Self.answerTimeMax
        if waiting.count == Self.waitingMax { waiting.removeFirst() }
        waiting.append(
            Waiting(
                number: nextNumber, deadline: MonotonicTime.adding(timeout, to: now), size: size,
                companion: companion))
        if size == 0 { estimator.noteProbe() }
        return PathProbe(number: nextNumber, datagramByteCount: size)
    }

    private mutating func noteSize() {
        estimator.note(datagramByteCountMax: search.current, isConfirmed: search.isConfirmed)
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
