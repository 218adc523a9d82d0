public import Cryptography
public import PacketFormats

/// One flow as the flow table knows it, and why it is in its class.
public struct FlowReport: Sendable, Equatable {
    public enum Phase: String, CaseIterable, Sendable {
        case request, waiting, streaming, idle
    }

    /// What the class follows from, the most trusted first.
    public enum Evidence: String, CaseIterable, Sendable {
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

    /// Who opened the connection, as far as is known, and whom it opened it to.
    public var client: IPAddress
    public var clientPort: UInt16
    public var server: IPAddress
    public var serverPort: UInt16
    /// 6 for TCP, 17 for UDP.
    public var protocolNumber: UInt8
    public var peer: PublicKey?
    /// Of what leaves here.
    public var trafficClass: TrafficClass
    public var evidence: Evidence
    /// 0 to 100.
    public var confidence: Int
    public var service: String?
    public var phase: Phase
    /// Whether the answer is, or was, a stream of tokens.
    public var isTokenStream: Bool
    /// What held the class down: `ceiling`, `budget` or nothing.
    public var limit: String?
    /// What was seen in words, such as `POST /v1/chat/completions`, never with a query or a body.
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

    public init(
        client: IPAddress, clientPort: UInt16, server: IPAddress, serverPort: UInt16,
        protocolNumber: UInt8
    ) {
        self.client = client
        self.clientPort = clientPort
        self.server = server
        self.serverPort = serverPort
        self.protocolNumber = protocolNumber
        peer = nil
        trafficClass = .token
        evidence = .beginning
        confidence = 0
        service = nil
        phase = .idle
        isTokenStream = false
        limit = nil
        detail = ""
        ageNanoseconds = 0
        idleNanoseconds = 0
        bytesOut = 0
        bytesIn = 0
        requests = 0
        chunks = 0
        stalls = 0
        retransmissions = 0
        firstChunkNanoseconds = nil
        interChunkNanoseconds = nil
        interChunkMaxNanoseconds = nil
    }
}

/// Which flows are asked for.
public struct FlowQuery: Sendable, Hashable {
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

    /// Most flows of one answer: those that moved last.
    public static var flowsMax: Int { 1_000 }
}
