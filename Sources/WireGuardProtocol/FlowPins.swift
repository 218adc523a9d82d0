import PacketFormats

/// Which peer serves each flow to a shared prefix.
///
/// A flow stays with its peer while that is as well as the best of its group, whatever becomes
/// preferred meanwhile. A flow that is not known, or was idle for long, goes to a preferred peer.
/// One that lost its place to others does, too, which is the same peer unless preferences changed.
public struct FlowPins: ~Copyable {
    private struct Pin {
        var flow: UInt32 = 0
        var peer: PeerID = RoutingTable.none
        /// Monotonic nanoseconds.
        var usedAt: UInt64 = 0
    }

    private var pins = FixedTable(repeating: Pin(), count: setCount * ways)

    public init() {}

    // A table whose records are private needs one that is written down.
    deinit {}

    /// The peer that a packet of `flow` goes to.
    ///
    /// - Parameter flow: `flowHash(of:seed:)` with one seed.
    /// - Complexity: O(1) for a known flow, and linear in the group's members otherwise.
    public mutating func peer(
        forFlow flow: UInt32, to group: PeerGroup, now: UInt64
    ) -> PeerID {
        let set = Int(flow % UInt32(Self.setCount)) * Self.ways
        var oldest = set
        for place in set..<set + Self.ways {
            let pin = pins[place]
            if pin.flow == flow, pin.peer >= 0 {
                let isLive = now < pin.usedAt + Self.idleNanoseconds
                let peer = isLive && group.keeps(pin.peer) ? pin.peer : group.peer(forFlow: flow)
                pins[place] = Pin(flow: flow, peer: peer, usedAt: now)
                return peer
            }
            if pin.usedAt < pins[oldest].usedAt { oldest = place }
        }
        let peer = group.peer(forFlow: flow)
        pins[oldest] = Pin(flow: flow, peer: peer, usedAt: now)
        return peer
    }

    static let ways = 4
    static let setCount = ImplementationLimits.pinnedFlows / ways
    static let idleNanoseconds: UInt64 = 600_000_000_000
}
