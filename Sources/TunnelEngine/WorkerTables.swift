import LinuxNetworking
import WireGuardProtocol

/// A worker's own map from receiver index to session: open addressing, at most half full.
///
/// Only its worker reads or writes it, and copies of it are never made.
struct SessionTable: ~Copyable {
    private var slots: [Session?]
    private var mask: UInt32
    private var count = 0

    private static let initialCapacity = 16

    init() {
        slots = Array(repeating: nil, count: Self.initialCapacity)
        mask = UInt32(Self.initialCapacity - 1)
    }

    /// - Complexity: O(1) expected.
    subscript(index: UInt32) -> Session? {
        var place = Self.hash(index) & mask
        while let session = slots[Int(place)] {
            if session.localIndex == index { return session }
            place = (place &+ 1) & mask
        }
        return nil
    }

    mutating func insert(_ session: Session) {
        guard self[session.localIndex] == nil else { return }
        if (count + 1) * 2 > slots.count { grow() }
        place(session)
        count += 1
    }

    /// Closes the gap behind the removed entry, so that no tombstones remain.
    mutating func remove(_ index: UInt32) {
        var gap = Self.hash(index) & mask
        while let session = slots[Int(gap)], session.localIndex != index {
            gap = (gap &+ 1) & mask
        }
        guard slots[Int(gap)] != nil else { return }
        slots[Int(gap)] = nil
        count -= 1
        var next = (gap &+ 1) & mask
        while let session = slots[Int(next)] {
            let home = Self.hash(session.localIndex) & mask
            // Move the entry back unless its home lies cyclically in (gap, next].
            if ((next &- home) & mask) >= ((next &- gap) & mask) {
                slots[Int(gap)] = session
                slots[Int(next)] = nil
                gap = next
            }
            next = (next &+ 1) & mask
        }
    }

    private mutating func place(_ session: Session) {
        var place = Self.hash(session.localIndex) & mask
        while slots[Int(place)] != nil { place = (place &+ 1) & mask }
        slots[Int(place)] = session
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: nil, count: old.count * 2)
        mask = UInt32(slots.count - 1)
        for case let session? in old { place(session) }
    }

    /// Indices are random except for their low byte, which steers them to a worker.
    private static func hash(_ index: UInt32) -> UInt32 { (index &* 0x9E37_79B1) >> 8 }
}

/// What a worker knows of one peer.
struct WorkerPeer {
    var activity: PeerActivity?
    /// The session that encrypts; `nil` until a handshake has completed.
    var session: Session?
    /// The newest session that this side answered. Whichever worker hears from the peer first
    /// confirms it, and from then on all send with it.
    var next: Session?
    /// Where datagrams go; `nil` until an endpoint is configured or learnt.
    var destination: Destination?
    /// Frames that wait for a session, oldest first; `nil` while there are none.
    var staged: [Int32]?
}

/// A worker's own table of peers, by peer ID.
struct PeerTable: ~Copyable {
    private var entries: [WorkerPeer] = []

    func contains(_ peer: PeerID) -> Bool {
        peer >= 0 && Int(peer) < entries.count && entries[Int(peer)].activity != nil
    }

    /// - Precondition: ``reserve(_:)`` was called for the peer, or for a greater one.
    subscript(peer: PeerID) -> WorkerPeer {
        _read { yield entries[Int(peer)] }
        _modify { yield &entries[Int(peer)] }
    }

    /// Makes room for `peer`.
    mutating func reserve(_ peer: PeerID) {
        while entries.count <= Int(peer) { entries.append(WorkerPeer()) }
    }
}
