public import PacketFormats

/// What goes on in a flow.
public enum FlowPhase: UInt8, CaseIterable, Sendable {
    /// A request is being sent.
    case request
    /// It has been sent; no answer yet.
    case waiting
    /// The answer arrives.
    case streaming
    case idle
}

/// What a flow's class follows from, the most trusted first.
public enum FlowEvidence: UInt8, CaseIterable, Sendable {
    /// A service of the policy.
    case policy
    /// A DSCP that the policy believes.
    case mark
    case http1, http2, grpc, tls
    /// Sizes and times of packets alone.
    case behaviour
    /// Nothing yet: a flow begins high.
    case beginning
    /// The flow went on beyond its beginning and showed nothing.
    case size
}

/// One flow as a ``FlowTable`` knows it, for people to read.
public struct FlowRecord: Sendable, Hashable {
    /// Who opened the connection, as far as is known, and whom it opened it to.
    public var client: IPAddress
    public var clientPort: UInt16
    public var server: IPAddress
    public var serverPort: UInt16
    /// 6 for TCP, 17 for UDP.
    public var protocolNumber: UInt8
    /// The peer that was named last; -1: unknown.
    public var peer: Int32
    /// Of what leaves through the tunnel.
    public var trafficClass: TrafficClass
    public var evidence: FlowEvidence
    /// 0 to 100.
    public var confidence: Int
    public var service: String?
    public var phase: FlowPhase
    /// Whether the answer is, or was, a stream of tokens.
    public var isTokenStream: Bool
    /// Whether the ceiling held the class down.
    public var isLimited: Bool
    /// What was seen, in words.
    public var detail: String
    public var ageNanoseconds: UInt64
    public var idleNanoseconds: UInt64
    public var bytesOut: UInt64
    public var bytesIn: UInt64
    public var requests: UInt64
    public var chunks: UInt64
    public var stalls: UInt64
    public var retransmissions: UInt64
    /// Of the latest request; `nil` before an answer began.
    public var firstChunkNanoseconds: UInt64?
    /// Smoothed, and the longest of the latest answer; `nil` before a second chunk.
    public var interChunkNanoseconds: UInt64?
    public var interChunkMaxNanoseconds: UInt64?
}

/// Which flows are asked for.
public struct FlowFilter: Sendable, Hashable {
    /// Either end; `nil`: any.
    public var address: IPAddress?
    public var port: UInt16?
    /// The other end.
    public var otherAddress: IPAddress?
    public var otherPort: UInt16?
    /// Only token streams that go on, or went on within the last seconds.
    public var streamsOnly: Bool

    public init(
        address: IPAddress? = nil, port: UInt16? = nil, otherAddress: IPAddress? = nil,
        otherPort: UInt16? = nil, streamsOnly: Bool = false
    ) {
        self.address = address
        self.port = port
        self.otherAddress = otherAddress
        self.otherPort = otherPort
        self.streamsOnly = streamsOnly
    }
}
