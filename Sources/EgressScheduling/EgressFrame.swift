public import PacketFormats

/// A frame that asks for its turn.
public struct EgressFrame: Sendable, Hashable {
    /// The caller's number for the frame.
    public var slot: Int32
    public var tenant: Int
    /// The peer that the frame goes to; -1 if it is not known. Peers without a line of their own
    /// share the tenant's common path.
    public var path: Int32
    public var trafficClass: TrafficClass
    /// Exact: two flows of a tenant never have one number at the same time. Outsiders must not be
    /// able to choose it.
    public var flow: UInt32
    /// Of the inner packet, or packets; 0 or more.
    public var byteCount: Int
    /// What it takes of a line: with padding, the tunnel's and the outer headers of each packet,
    /// and what the line adds to them.
    public var wireByteCount: Int

    @inlinable
    public init(
        slot: Int32, tenant: Int, path: Int32 = -1, trafficClass: TrafficClass, flow: UInt32,
        byteCount: Int, wireByteCount: Int
    ) {
        self.slot = slot
        self.tenant = tenant
        self.path = path
        self.trafficClass = trafficClass
        self.flow = flow
        self.byteCount = byteCount
        self.wireByteCount = wireByteCount
    }
}

/// A frame whose turn it is. Its slot is the caller's again.
public struct Departure: Sendable, Hashable {
    public var slot: Int32
    public var tenant: Int
    /// The peer whose line it was given; -1 for the tenant's common path.
    public var path: Int32
    /// Where its flow was: no better than what ``EgressFrame/trafficClass`` said.
    public var trafficClass: TrafficClass
    /// Nothing like bulk: the flow was new, or its class is one of those that go first.
    public var isSparse: Bool
    /// How long the frame waited.
    public var sojournNanoseconds: UInt64
    /// The flow's queue stands: the frame is to be marked CE, or dropped where it can't be, and
    /// then handed to ``TenantQueues/giveBack(_:)``.
    public var isSignalled: Bool
    public var byteCount: Int
    public var wireByteCount: Int
}

/// A frame that was given up for others. Its slot is the caller's again.
public struct DroppedFrame: Sendable, Hashable {
    public var slot: Int32
    public var tenant: Int
    public var trafficClass: TrafficClass
    public var byteCount: Int
}

/// What waits somewhere.
public struct Occupancy: Sendable, Hashable {
    public var packets = 0
    public var bytes = 0

    public init(packets: Int = 0, bytes: Int = 0) {
        self.packets = packets
        self.bytes = bytes
    }
}
