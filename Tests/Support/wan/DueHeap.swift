/// Packets by the time that they are due, those due together in the order of their arrival.
struct DueHeap {
    struct Entry {
        /// Nanoseconds since the relay began.
        let due: UInt64
        let arrival: UInt64
        let slot: Int
        let byteCount: Int

        func isBefore(_ other: Entry) -> Bool {
            due == other.due ? arrival < other.arrival : due < other.due
        }
    }

    private var entries: [Entry] = []

    /// - Parameter capacity: Most entries at a time; none is ever moved to larger memory.
    init(capacity: Int) {
        entries.reserveCapacity(capacity)
    }

    var count: Int { entries.count }
    var first: Entry? { entries.first }

    /// - Complexity: O(log n); O(1) for one that is due after all others.
    mutating func insert(_ entry: Entry) {
        var place = entries.count
        entries.append(entry)
        while place > 0 {
            let parent = (place - 1) / 2
            guard entry.isBefore(entries[parent]) else { break }
            entries[place] = entries[parent]
            place = parent
        }
        entries[place] = entry
    }

    /// - Complexity: O(log n)
    mutating func removeFirst() -> Entry? {
        guard let first = entries.first, let moved = entries.popLast() else { return nil }
        guard !entries.isEmpty else { return first }
        var place = 0
        while true {
            var child = 2 * place + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1].isBefore(entries[child]) { child += 1 }
            guard entries[child].isBefore(moved) else { break }
            entries[place] = entries[child]
            place = child
        }
        entries[place] = moved
        return first
    }
}
