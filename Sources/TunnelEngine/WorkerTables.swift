import AccessControl
import EgressScheduling
import LinuxNetworking
import PacketFormats
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

    /// Fetches from memory where a session of that index would be, and the session's first line.
    ///
    /// - Returns: A number without a meaning: see ``Session/fetch(counter:)``.
    func fetch(_ index: UInt32) -> UInt32 {
        slots[Int(Self.hash(index) & mask)]?.localIndex ?? 0
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

    /// - Complexity: O(sessions).
    mutating func removeAll(of tunnel: TunnelID) {
        let indices = slots.compactMap { $0?.tunnel == tunnel ? $0?.localIndex : nil }
        for index in indices { remove(index) }
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
    /// Its probes and answers that may be answered and handed on.
    var pathBudget = TokenBucket(
        perSecond: EngineLimits.pathFramesPerSecond, burst: EngineLimits.pathFrameBurst)
    /// The longest inner packet that the path carries, padding included.
    var packetMax = Int32.max
    var qos = PeerQoS()
}

/// A worker's own table of the peers of one tunnel, by peer ID. Copies of it are never made.
struct PeerTable {
    private var entries: [WorkerPeer] = []

    func contains(_ peer: PeerID) -> Bool {
        peer >= 0 && Int(peer) < entries.count && entries[Int(peer)].activity != nil
    }

    /// - Precondition: ``reserve(_:)`` was called for the peer, or for a greater one.
    subscript(peer: PeerID) -> WorkerPeer {
        _read { yield entries[Int(peer)] }
        _modify { yield &entries[Int(peer)] }
    }

    /// Fetches from memory what the way of a datagram wants of the peer.
    ///
    /// - Returns: A number without a meaning: see ``Session/fetch(counter:)``.
    func fetch(_ peer: PeerID) -> UInt32 {
        contains(peer) && entries[Int(peer)].destination != nil ? 1 : 0
    }

    /// Peers that there are, in ascending order.
    var numbers: [PeerID] {
        entries.indices.filter { entries[$0].activity != nil }.map { PeerID($0) }
    }

    /// Makes room for `peer`.
    mutating func reserve(_ peer: PeerID) {
        while entries.count <= Int(peer) { entries.append(WorkerPeer()) }
    }
}

/// A worker's end of one tunnel, as the control thread makes it.
struct TunnelPort: Sendable {
    let number: TunnelID
    let tun: TunQueue
    let offloads: TunOffloads
    let hasVirtioHeader: Bool
    let mtu: Int
    let isUp: Bool
    /// Where its datagrams arrive.
    let lane: Int
    let limits: TunnelLimits
    let counters: WorkerCounters
}

/// Keeps the pins in one place, whatever copies there are of the tunnel that they belong to.
final class PinTable {
    var flows = FlowPins()
}

/// What a worker knows of one tunnel.
struct WorkerTunnel {
    let port: TunnelPort
    let coalescing: CoalescingOffloads
    private(set) var routes = RoutingTable(AllowedIPs())
    var peers = PeerTable()
    var mtu: Int
    var isUp: Bool
    /// The TUN device was deleted.
    var isDeviceGone = false
    /// Frames that wait for a session.
    var stagedCount = 0
    var stagedLargeCount = 0
    var icmpBudget = TokenBucket(
        perSecond: EngineLimits.icmpPerSecond, burst: EngineLimits.icmpBurst)
    /// What may pass, either way; `nil` where everything may.
    var access: AccessFilter?
    /// How its packets are classed, ordered and marked.
    var qos = WorkerQoS()
    /// Peers with a ceiling of their own, so that a frame's sender is asked for only where it
    /// matters.
    var limitedPeerCount = 0
    /// When the tokens that were seen are taken from the budget next.
    var budgetReviewAt: UInt64 = 0
    /// What arrives beyond these is dropped; `nil` without a cap.
    var inwardMeters: TenantMeters?
    /// Of what the lane takes in, relative to other tunnels.
    var weight = 1
    /// Moves of peers that may be reported to the control thread.
    var roamingBudget = TokenBucket(
        perSecond: EngineLimits.roamingPerSecond, burst: EngineLimits.roamingBurst)

    /// Who serves flows to prefixes that several peers have; `nil` where none has been shared.
    private(set) var pins: PinTable?
    /// Packets like these are not the device's.
    var probeMarks: ProbeMarks?
    /// Such packets that may be handed on.
    var answerBudget = TokenBucket(
        perSecond: EngineLimits.answersPerSecond, burst: EngineLimits.answerBurst)

    init(_ port: TunnelPort) {
        self.port = port
        coalescing = port.hasVirtioHeader ? CoalescingOffloads(port.offloads) : []
        mtu = port.mtu
        isUp = port.isUp
        use(port.limits)
    }

    mutating func use(_ limits: TunnelLimits) {
        inwardMeters = limits.inward.isCapped ? limits.inward : nil
        weight = limits.limits.weight
    }

    mutating func use(_ table: RoutingTable) {
        routes = table
        if table.hasGroups, pins == nil { pins = PinTable() }
    }

    var tun: TunQueue { port.tun }
    var hasVirtioHeader: Bool { port.hasVirtioHeader }
}

/// A worker's tunnels by number; numbers are small and used again.
struct TunnelTable {
    private var entries: [WorkerTunnel?] = []
    private(set) var count = 0
    /// The only tunnel, where there is but one.
    private(set) var single: TunnelID?

    func contains(_ tunnel: TunnelID) -> Bool {
        tunnel >= 0 && Int(tunnel) < entries.count && entries[Int(tunnel)] != nil
    }

    /// - Precondition: There is one of that number.
    subscript(tunnel: TunnelID) -> WorkerTunnel {
        _read { yield entries[Int(tunnel)]! }
        _modify { yield &entries[Int(tunnel)]! }
    }

    /// - Precondition: There is none of that number.
    mutating func insert(_ tunnel: WorkerTunnel) {
        let number = Int(tunnel.port.number)
        while entries.count <= number { entries.append(nil) }
        precondition(entries[number] == nil, "a tunnel's number is in use")
        entries[number] = tunnel
        count += 1
        single = count == 1 ? tunnel.port.number : nil
    }

    mutating func remove(_ tunnel: TunnelID) {
        guard contains(tunnel) else { return }
        entries[Int(tunnel)] = nil
        count -= 1
        let rest = entries.firstIndex { $0 != nil }
        single = count == 1 ? rest.map { TunnelID($0) } : nil
    }

    /// Numbers in ascending order.
    var numbers: [TunnelID] {
        entries.indices.filter { entries[$0] != nil }.map { TunnelID($0) }
    }
}
