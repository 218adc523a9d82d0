import PacketMemory

/// The connections that packets were let through for: bounded, lock-free, shared by all workers.
///
/// It outlives a change of the rules: an answer passes only while the rules in force let its
/// connection be opened. A table of sets of eight entries, eight bytes each; a connection is known
/// by a keyed hash of its addresses, protocol and ports, the same for both directions. What no
/// answer came for is displaced before what was answered, and that before what goes on.
public final class AccessState: Sendable {
    /// Connections that fit at most; half of that is a fair load.
    public let capacity: Int
    let key: Key
    /// Until when ``mayPickUp(now:)``, in monotonic nanoseconds.
    private let pickUpUntil: UInt64
    private let entries: AtomicWords
    private let setMask: UInt64
    private let refusals = AtomicWords(count: 1)

    /// - Parameter capacity: Rounded up to a power of two; 8 bytes each.
    /// - Parameter key: Secret random numbers.
    /// - Parameter now: Monotonic nanoseconds.
    public init(capacity: Int = 16_384, key: (UInt64, UInt64), now: UInt64) {
        let wanted = min(max(capacity, Self.capacityMin), Self.capacityMax)
        var rounded = Self.capacityMin
        while rounded < wanted { rounded *= 2 }
        self.capacity = rounded
        self.key = Key(first: key.0, second: key.1)
        pickUpUntil = now &+ AccessTimes.pickUpSeconds * AccessTimes.nanosecondsPerSecond
        entries = AtomicWords(count: rounded)
        setMask = UInt64(rounded / Self.waysPerSet - 1)
    }

    /// Connections that are known now.
    public func count(now: UInt64) -> Int {
        let time = StateEntry.time(now)
        return (0..<entries.count).count { StateEntry(entries.load($0)).isAlive(time) }
    }

    /// Forgets connections that are over: entries are dated by a clock that comes round after three
    /// days, and would look young again. To be called every few hours.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Complexity: O(``capacity``).
    public func forgetEnded(now: UInt64) {
        let time = StateEntry.time(now)
        for place in 0..<entries.count {
            let word = entries.load(place)
            // A worker that notes a packet meanwhile wins.
            if word != 0, !StateEntry(word).isAlive(time) {
                _ = entries.replace(word, with: 0, at: place)
            }
        }
    }

    /// Connections that found no room: their answers do not pass.
    public var refusedCount: UInt64 { refusals.load(0) }

    struct Key: Sendable {
        let first: UInt64
        let second: UInt64
    }

    static let waysPerSet = 8
    static let capacityMin = 64
    static let capacityMax = 1 << 24
}

extension AccessState {
    /// Whether answers may make state of their own: after a restart, streams go on whose opener
    /// has nothing to say.
    func mayPickUp(now: UInt64) -> Bool { now < pickUpUntil }

    /// The connection's entry, and where it is; an empty one if there is none alive.
    @inline(__always)
    func find(_ flow: FlowKey, time: UInt64) -> (entry: StateEntry, place: Int) {
        let first = firstEntry(of: flow)
        for way in 0..<Self.waysPerSet {
            let entry = StateEntry(entries.load(first &+ way))
            if entry.matches(flow.hash), entry.isAlive(time) { return (entry, first &+ way) }
        }
        return (StateEntry(0), first)
    }

    /// Notes a packet that the rules let through, and makes an entry if there is none.
    @inline(__always)
    func noteOpener(_ flow: FlowKey, time: UInt64) {
        let (entry, place) = find(flow, time: time)
        if entry.word != 0 {
            replace(entry, with: entry.notingOpener(flow, time: time), at: place)
        } else {
            insert(StateEntry(opening: flow, time: time), at: place, time: time)
        }
    }

    /// Notes an answer that was let through by `entry`; the lack of one makes one.
    ///
    /// - Parameter place: As ``find(_:time:)`` said.
    @inline(__always)
    func noteAnswer(_ flow: FlowKey, _ entry: StateEntry, at place: Int, time: UInt64) {
        if entry.word != 0 {
            replace(entry, with: entry.notingAnswer(flow, time: time), at: place)
        } else {
            insert(StateEntry(pickingUp: flow, time: time), at: place, time: time)
        }
    }

    /// Another worker's note may win: the next packet brings the next one.
    @inline(__always)
    private func replace(_ entry: StateEntry, with noted: StateEntry, at place: Int) {
        if noted.word != entry.word {
            _ = entries.replace(entry.word, with: noted.word, at: place)
        }
    }

    @inline(__always)
    private func firstEntry(of flow: FlowKey) -> Int {
        Int(truncatingIfNeeded: flow.hash & setMask) &* Self.waysPerSet
    }

    /// Takes the place of the least worthy entry of the set: an ended one, or the oldest of the
    /// lowest rank. What goes on is never displaced before it has been silent for long.
    @inline(never)
    private func insert(_ new: StateEntry, at first: Int, time: UInt64) {
        let start = Int(truncatingIfNeeded: new.word &>> StateEntry.tagShift)
        for _ in 0..<Self.attemptsMax {
            var victim = -1
            var victimWord: UInt64 = 0
            var leastWorth = UInt64.max
            for step in 0..<Self.waysPerSet {
                // Among equals the hash chooses, or each newcomer would displace the one before.
                let place = first &+ (start &+ step) & (Self.waysPerSet &- 1)
                let word = entries.load(place)
                let worth = StateEntry(word).worth(time)
                if worth < leastWorth {
                    leastWorth = worth
                    victim = place
                    victimWord = word
                }
            }
            guard victim >= 0 else { return refusals.add(1, at: 0) }
            if entries.replace(victimWord, with: new.word, at: victim) { return }
        }
    }

    private static let attemptsMax = 4
}

/// How long connections are remembered without a packet, in seconds.
enum AccessTimes {
    static let nanosecondsPerSecond: UInt64 = 1_000_000_000
    /// Streams may be silent for a night.
    static let tcpSeconds: UInt64 = 86_400
    static let tcpOpeningSeconds: UInt64 = 120
    /// A half-closed connection may still bring a long answer.
    static let closingSeconds: UInt64 = 600
    static let udpSeconds: UInt64 = 300
    static let udpOpeningSeconds: UInt64 = 60
    static let otherSeconds: UInt64 = 60
    /// Source: RFC 8200, section 4.5: the time for reassembly.
    static let fragmentSeconds: UInt64 = 60
    /// What goes on may be displaced after so long a silence.
    static let displaceableSeconds: UInt64 = 600
    /// How long after its beginning a table takes up connections from their answers.
    static let pickUpSeconds: UInt64 = 600
}
