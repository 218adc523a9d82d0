import PacketFormats

/// Finds a long queue among many at once: queues of about the same length, to a power of two, are
/// linked together, for each of several groups.
///
/// Never allocates, except to make room.
struct LengthLevels: ~Copyable {
    private var queues: FixedTable<Queue>
    private var groups: FixedTable<Group>
    /// The first queue of each level of each group; -1 for none.
    private var firsts: FixedTable<Int32>

    private struct Queue {
        var next: Int32 = -1
        var previous: Int32 = -1
        /// -1: in no level.
        var level: Int8 = -1
    }

    private struct Group {
        /// A bit for each level that has queues.
        var levels: UInt32 = 0
    }

    init() {
        queues = FixedTable(repeating: Queue(), count: 1)
        groups = FixedTable(repeating: Group(), count: 1)
        firsts = FixedTable(repeating: -1, count: Self.levelCount)
    }

    deinit {}

    /// Makes room, for at least as many as before.
    mutating func reserve(queues queueCount: Int) {
        var more = FixedTable(repeating: Queue(), count: queueCount)
        for index in 0..<queues.count { more[index] = queues[index] }
        queues = more
    }

    /// Makes room, for at least as many as before.
    mutating func reserve(groups groupCount: Int) {
        var more = FixedTable(repeating: Group(), count: groupCount)
        for index in 0..<groups.count { more[index] = groups[index] }
        groups = more
        var moreFirsts = FixedTable<Int32>(repeating: -1, count: groupCount * Self.levelCount)
        for index in 0..<firsts.count { moreFirsts[index] = firsts[index] }
        firsts = moreFirsts
    }

    /// Notes the length of a queue.
    ///
    /// - Parameter length: `nil` for a queue with nothing in it.
    @inline(__always)
    mutating func note(_ queue: Int, of group: Int, length: Int?) {
        let level = length.map(Self.level) ?? -1
        if level != queues[queue].level { move(queue, of: group, to: level) }
    }

    /// A queue that is at least half as long as the longest of its group; `nil` if all are empty.
    func longest(of group: Int) -> Int? {
        let levels = groups[group].levels
        guard levels != 0 else { return nil }
        let level = Self.levelCount &- 1 &- levels.leadingZeroBitCount
        return Int(firsts[group &* Self.levelCount &+ level])
    }

    private mutating func move(_ queue: Int, of group: Int, to level: Int8) {
        let old = queues[queue].level
        if old >= 0 { unlink(queue, of: group, from: Int(old)) }
        queues[queue].level = level
        guard level >= 0 else { return }
        let place = group &* Self.levelCount &+ Int(level)
        let number = Int32(truncatingIfNeeded: queue)
        let next = firsts[place]
        queues[queue].next = next
        queues[queue].previous = -1
        if next >= 0 { queues[Int(next)].previous = number }
        firsts[place] = number
        groups[group].levels |= 1 &<< UInt32(level)
    }

    private mutating func unlink(_ queue: Int, of group: Int, from level: Int) {
        let (next, previous) = (queues[queue].next, queues[queue].previous)
        if next >= 0 { queues[Int(next)].previous = previous }
        if previous >= 0 {
            queues[Int(previous)].next = next
            return
        }
        firsts[group &* Self.levelCount &+ level] = next
        if next < 0 { groups[group].levels &= ~(1 &<< UInt32(level)) }
    }

    /// Lengths of 0 and 1 have level 0, then each power of two a level; the last has all beyond.
    @inline(__always)
    private static func level(_ length: Int) -> Int8 {
        let bits = Int.bitWidth &- 1 &- max(length, 1).leadingZeroBitCount
        return Int8(truncatingIfNeeded: min(bits, levelCount &- 1))
    }

    private static var levelCount: Int { 32 }
}
