import PacketFormats

/// Whose turn it is among the classes of a path.
///
/// What only looks is `mutating` all the same where it is a call: the address is handed over then,
/// where a borrowed structure is copied, 700 bytes for each frame.
extension TenantQueues {
    /// The class to serve, of a path that has frames; asked twice at one time, it is the same.
    ///
    /// The rule, in bytes on the wire, with counters that run only while others wait as well:
    ///
    /// 1. `control`, while it has had at most 10 % of what was served while it waited.
    /// 2. `background`, when it has had less than 2 %.
    /// 3. `token` and `activation`, while `prompt` and `bulk` do not wait, or while the two have
    ///    had at most ``ClassPolicy/priorityPercent`` of the bytes: `token` before `activation`,
    ///    unless the oldest frame of `activation` is about to miss its deadline and `activation`
    ///    has had at most half of what the two had while both waited.
    /// 4. `prompt`, `bulk` and those above their caps, by weight (start-time fair queueing).
    /// 5. `background`.
    ///
    /// So whoever waits gets something: the weighted classes what the cap leaves, `background` 2 %,
    /// `token` at least half of what it has in common with `activation`. What `token` and
    /// `activation` get against the weighted ones is the larger of their cap and their weights.
    @inline(__always)
    mutating func nextClass(
        of path: Int, _ tenant: Int, _ now: UInt64
    ) -> (level: Int, isWeighted: Bool) {
        let waiting = paths[path].waiting
        guard waiting & (waiting &- 1) != 0 else { return (waiting.trailingZeroBitCount, false) }
        return chooseClass(of: path, tenant, waiting, now)
    }

    private mutating func chooseClass(
        of path: Int, _ tenant: Int, _ waiting: UInt8, _ now: UInt64
    ) -> (level: Int, isWeighted: Bool) {
        let credits = paths[path].credits
        if waiting & ClassMask.control != 0 && credits.control > 0 { return (Self.control, false) }
        if waiting & ClassMask.background != 0 && credits.background > 0 {
            return (Self.background, false)
        }
        let preferred = waiting & ClassMask.priority
        if preferred != 0 && (credits.priority > 0 || waiting & ClassMask.weighted == 0) {
            guard preferred == ClassMask.priority else {
                return (preferred.trailingZeroBitCount, false)
            }
            let isUrgent = credits.urgent > 0 && isDeadlineNear(in: path, tenant, now)
            return (isUrgent ? Self.activation : Self.activation &- 1, false)
        }
        let sharing = waiting & ~ClassMask.background
        guard sharing != 0 else { return (Self.background, false) }
        let least = leastTag(of: path, sharing)
        let isTokenBehind = least == Self.activation && waiting & ClassMask.token != 0
            && credits.urgent <= 0
        return (isTokenBehind ? Self.activation &- 1 : least, true)
    }

    private mutating func isDeadlineNear(in path: Int, _ tenant: Int, _ now: UInt64) -> Bool {
        let oldest = classes[path &* Self.classCount &+ Self.activation].due.first
        let enqueuedAt = frames[Int(oldest)].enqueuedAt
        let deadline = policies[tenant].activationDeadlineNanoseconds
        let lead = min(paths[path].leadNanoseconds, deadline / 2)
        return now &- min(now, enqueuedAt) >= deadline &- lead
    }

    /// Of equal ones the most urgent.
    private mutating func leastTag(of path: Int, _ sharing: UInt8) -> Int {
        var rest = sharing
        var least = rest.trailingZeroBitCount
        var leastTag = startTag(of: path, least)
        rest &= rest &- 1
        while rest != 0 {
            let level = rest.trailingZeroBitCount
            let tag = startTag(of: path, level)
            if tag < leastTag { (least, leastTag) = (level, tag) }
            rest &= rest &- 1
        }
        return least
    }

    /// Who was away does not catch up.
    @inline(__always)
    private func startTag(of path: Int, _ level: Int) -> UInt64 {
        max(classes[path &* Self.classCount &+ level].tag, paths[path].clock)
    }

    /// Notes what a class was served, before its frame is taken out.
    @inline(__always)
    mutating func chargeClasses(
        of path: Int, _ tenant: Int, _ level: Int, _ byteCount: Int, isWeighted: Bool
    ) {
        let waiting = paths[path].waiting
        guard waiting & (waiting &- 1) != 0 else { return }
        paths[path].credits.served(
            1 &<< UInt8(truncatingIfNeeded: level), byteCount, waiting: waiting,
            priorityPercent: policies[tenant].priorityPercent,
            quantumBytes: Int(paths[path].quantumBytes))
        guard isWeighted else { return }
        let start = startTag(of: path, level)
        let weight = UInt64(policies[tenant].weight(at: level))
        let group = path &* Self.classCount &+ level
        classes[group].tag = start &+ (UInt64(byteCount) &<< Self.classWeightBits) / weight
        paths[path].clock = start
    }

    /// Tags count bytes over weight in sixteenths: 2^59 bytes, which no uptime overflows.
    private static var classWeightBits: UInt64 { 4 }
}
