/// One entry of an ``AccessState``: 36 bits of the hash, 21 bits of time, seven of flags.
///
/// Time is counted in eighths of a second and wraps after three days, so an entry that is over has
/// to be forgotten before it would look young again: see ``AccessState/forgetEnded(now:)``. One
/// that is in use has been opened by somebody, and is not zero.
struct StateEntry {
    var word: UInt64

    init(_ word: UInt64) { self.word = word }

    init(opening flow: FlowKey, time: UInt64) {
        word = Self.tag(flow.hash) | time << Self.timeShift | flow.kind.rawValue
            | flow.openerFlag
    }

    init(pickingUp flow: FlowKey, time: UInt64) {
        word = Self.tag(flow.hash) | time << Self.timeShift | flow.kind.rawValue
            | flow.answeredFlag | Self.answered
    }

    /// Ticks of the clock that entries are dated by.
    @inline(__always)
    static func time(_ nanoseconds: UInt64) -> UInt64 {
        nanoseconds / (AccessTimes.nanosecondsPerSecond / ticksPerSecond) & timeMask
    }

    @inline(__always)
    func matches(_ hash: UInt64) -> Bool { (word ^ hash) >> Self.tagShift == 0 && word != 0 }

    @inline(__always)
    func has(_ flag: UInt64) -> Bool { word & flag != 0 }

    @inline(__always)
    func isAlive(_ time: UInt64) -> Bool {
        word != 0 && age(time) < lifetime &* Self.ticksPerSecond
    }

    /// Workers' clocks differ a little: what is dated a little ahead is new.
    @inline(__always)
    private func age(_ time: UInt64) -> UInt64 {
        let age = (time &- (word >> Self.timeShift)) & Self.timeMask
        return age > Self.timeMask &- Self.ticksAheadMax ? 0 : age
    }

    private var kind: FlowKey.Kind { FlowKey.Kind(rawValue: word & Self.kindMask) ?? .other }

    private var lifetime: UInt64 {
        switch kind {
        case .tcp:
            if has(Self.closing) { return AccessTimes.closingSeconds }
            return has(Self.established) ? AccessTimes.tcpSeconds : AccessTimes.tcpOpeningSeconds
        case .udp:
            return has(Self.established) ? AccessTimes.udpSeconds : AccessTimes.udpOpeningSeconds
        case .other: return AccessTimes.otherSeconds
        case .fragment: return AccessTimes.fragmentSeconds
        }
    }

    /// How much an entry deserves its place; `UInt64.max` for one that keeps it.
    func worth(_ time: UInt64) -> UInt64 {
        guard isAlive(time) else { return 0 }
        let age = age(time)
        let youth = Self.timeMask &- age
        if has(Self.established), !has(Self.closing) {
            // Anybody can make as many of others as a flood has packets.
            let keepsItsPlace = kind == .tcp
                && age < AccessTimes.displaceableSeconds &* Self.ticksPerSecond
            return keepsItsPlace ? .max : Self.rankStep &* 3 &+ youth
        }
        let isAnswered = has(Self.answered) && !has(Self.closing)
        return (isAnswered ? Self.rankStep &* 2 : Self.rankStep) &+ youth
    }

    /// After a packet that the rules allow.
    @inline(__always)
    func notingOpener(_ flow: FlowKey, time: UInt64) -> StateEntry {
        var flags = word & Self.flagsMask
        if flow.opens, flow.kind == .tcp {
            flags = flow.kind.rawValue | flow.openerFlag
        } else {
            // Both may open it: then the one that did not is the one that answers.
            if flags & flow.answeredFlag != 0, flags & flow.openerFlag == 0 {
                flags |= Self.answered
            } else if flags & Self.answered != 0 {
                flags |= Self.established
            }
            flags |= flow.openerFlag
            if flow.closes { flags |= Self.closing }
        }
        return dated(flags, time)
    }

    func notingAnswer(_ flow: FlowKey, time: UInt64) -> StateEntry {
        var flags = word & Self.flagsMask | Self.answered
        if flow.closes { flags |= Self.closing }
        return dated(flags, time)
    }

    /// A new date is not worth a write more than once a second.
    @inline(__always)
    private func dated(_ flags: UInt64, _ time: UInt64) -> StateEntry {
        if flags == word & Self.flagsMask, age(time) < Self.ticksPerSecond { return self }
        return StateEntry(word & ~(Self.flagsMask | Self.timeMask << Self.timeShift)
            | flags | time << Self.timeShift)
    }

    @inline(__always)
    private static func tag(_ hash: UInt64) -> UInt64 { (hash >> tagShift) << tagShift }

    private static let ticksPerSecond: UInt64 = 8
    /// A minute: far more than the clocks of two workers differ.
    private static let ticksAheadMax: UInt64 = 480
    static let openedByLow: UInt64 = 1
    static let openedByHigh: UInt64 = 2
    static let answered: UInt64 = 4
    /// Its opener went on after the answer.
    static let established: UInt64 = 8
    static let closing: UInt64 = 16
    static let kindMask: UInt64 = 0x60
    static let flagsMask: UInt64 = 0x7f
    static let timeShift: UInt64 = 7
    static let timeMask: UInt64 = 0x1f_ffff
    static let tagShift: UInt64 = 28
    private static let rankStep: UInt64 = 1 << 24
}
