/// The earliest deadline of every peer, the earliest of all on top.
///
/// A binary heap in which each peer has at most one entry and knows its place, so that it never
/// holds more entries than there are peers.
struct DeadlineHeap {
    private struct Entry {
        var deadline: UInt64
        var peer: PeerID
    }

    private var entries: [Entry] = []
    /// Place of each peer in `entries`; -1 for none.
    private var places: [Int32] = []

    /// The peer whose deadline comes first.
    var first: (deadline: UInt64, peer: PeerID)? {
        entries.first.map { ($0.deadline, $0.peer) }
    }

    var count: Int { entries.count }

    /// Sets, moves or (with `nil`) removes the deadline of `peer`.
    ///
    /// - Complexity: O(log n) in the number of peers with a deadline.
    mutating func set(_ deadline: UInt64?, for peer: PeerID) {
        let slot = Int(peer)
        while places.count <= slot { places.append(-1) }
        let place = Int(places[slot])
        guard let deadline else {
            if place >= 0 { remove(at: place) }
            return
        }
        if place < 0 {
            entries.append(Entry(deadline: deadline, peer: peer))
            places[slot] = Int32(entries.count - 1)
            siftUp(entries.count - 1)
        } else if entries[place].deadline != deadline {
            entries[place].deadline = deadline
            siftUp(place)
            siftDown(Int(places[slot]))
        }
    }

    private mutating func remove(at place: Int) {
        places[Int(entries[place].peer)] = -1
        let last = entries.removeLast()
        guard place < entries.count else { return }
        entries[place] = last
        places[Int(last.peer)] = Int32(place)
        siftUp(place)
        siftDown(Int(places[Int(last.peer)]))
    }

    private mutating func siftUp(_ start: Int) {
        var place = start
        while place > 0 {
            let parent = (place - 1) / 2
            guard entries[place].deadline < entries[parent].deadline else { return }
            exchange(place, parent)
            place = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var place = start
        while true {
            var child = 2 * place + 1
            guard child < entries.count else { return }
            if child + 1 < entries.count, entries[child + 1].deadline < entries[child].deadline {
                child += 1
            }
            guard entries[child].deadline < entries[place].deadline else { return }
            exchange(place, child)
            place = child
        }
    }

    private mutating func exchange(_ first: Int, _ second: Int) {
        entries.swapAt(first, second)
        places[Int(entries[first].peer)] = Int32(first)
        places[Int(entries[second].peer)] = Int32(second)
    }
}
