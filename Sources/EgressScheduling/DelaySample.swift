/// What a probe to a peer took, once its answer is here.
public struct DelaySample: Sendable, Hashable {
    /// From here to the peer in nanoseconds, by the clocks of both: how far one is ahead of the
    /// other is in it, and grows as they drift.
    public var outwardDelay: Int64
    /// There and back in nanoseconds, by this side's clock.
    public var roundTrip: UInt64
    public var peer: Int32

    public init(outwardDelay: Int64, roundTrip: UInt64, peer: Int32) {
        self.outwardDelay = outwardDelay
        self.roundTrip = roundTrip
        self.peer = peer
    }
}
