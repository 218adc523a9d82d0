/// Who sent a piece of a TCP stream.
public enum StreamSide: UInt8, Sendable {
    /// Who opened the connection.
    case client
    case server
}

/// The protocol that a connection's first bytes show.
public enum StreamProtocol: UInt8, Sendable {
    case unknown, http1, http2, tls, ssh
}

/// Why a scanner stopped reading a connection for good.
public enum GiveUpReason: UInt8, Sendable {
    case none
    /// Neither HTTP, TLS nor SSH.
    case unknownProtocol
    /// Bytes are missing that cannot be skipped.
    case gap
    /// More than ``ScanLimits/headBytesMax`` of header.
    case hugeHead
    /// A header took longer than ``ScanLimits/headNanosecondsMax``.
    case slowHead
    /// More of heads than ``ScanLimits/headBytesPerSecond``, for longer than a burst.
    case manyHeads
    /// Two readers could see two different messages: request smuggling.
    case ambiguous
    /// Against the protocol's grammar.
    case malformed
    /// `CONNECT`, `101 Switching Protocols`: another protocol follows.
    case upgraded
    /// More in flight than a context holds.
    case tooMany
    /// The context went to another connection.
    case recycled
    /// Nothing more to learn (TLS, SSH).
    case finished
}

/// What one piece of a stream showed. Counts are of this piece; summaries are of the last message
/// in it.
public struct ScanEvents: Sendable {
    public struct Kinds: OptionSet, Sendable {
        public let rawValue: UInt16
        @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

        /// ``ScanEvents/protocol`` has just become known.
        public static let protocolKnown = Kinds(rawValue: 1 << 0)
        /// The first byte of a request.
        public static let requestStarted = Kinds(rawValue: 1 << 1)
        /// A request's head is complete: ``ScanEvents/request``.
        public static let requestHeaders = Kinds(rawValue: 1 << 2)
        /// The last byte of a request.
        public static let requestEnded = Kinds(rawValue: 1 << 3)
        /// A final response's head is complete: ``ScanEvents/response``.
        public static let responseHeaders = Kinds(rawValue: 1 << 4)
        /// A `100 Continue`, `103 Early Hints` or the like; it is no answer.
        public static let interimResponse = Kinds(rawValue: 1 << 5)
        /// Bytes of a response's body.
        public static let responseChunk = Kinds(rawValue: 1 << 6)
        /// The last byte of a response.
        public static let responseEnded = Kinds(rawValue: 1 << 7)
        /// Tokens were counted: ``ScanEvents/tokens``.
        public static let usage = Kinds(rawValue: 1 << 8)
        /// Nothing new: all of it had been seen.
        public static let retransmission = Kinds(rawValue: 1 << 9)
        /// Bytes are missing before these.
        public static let gap = Kinds(rawValue: 1 << 10)
        /// The handle is of no more use: ``ScanEvents/reason``.
        public static let gaveUp = Kinds(rawValue: 1 << 11)
    }

    public var kinds: Kinds = []
    public var `protocol` = StreamProtocol.unknown
    public var reason = GiveUpReason.none
    /// Requests begun, requests ended, final responses begun (their head complete) and ended; ends
    /// of responses of followed streams only (``ScanLimits/streamsMax``).
    public var requestsStarted: UInt16 = 0
    public var requestsEnded: UInt16 = 0
    public var responsesStarted: UInt16 = 0
    public var responsesEnded: UInt16 = 0
    /// Requests without their response's end, after this piece.
    public var openRequests: UInt16 = 0
    /// Responses that stream (``ResponseSummary/isStreaming``, gRPC with two messages or more) and
    /// have not ended, after this piece.
    public var tokenStreams: UInt16 = 0
    public var request = RequestSummary()
    public var response = ResponseSummary()
    /// Bytes of bodies in this piece, framing left out.
    public var requestBodyBytes: UInt32 = 0
    public var responseBodyBytes: UInt32 = 0
    /// Pieces of responses that began: HTTP/1.1 chunks, HTTP/2 DATA frames with content, gRPC
    /// messages; 1 where a body has no framing of its own.
    public var responseChunks: UInt16 = 0
    /// Tokens that usage records newly account for; a response that tells its sum several times
    /// is counted once.
    public var tokens: UInt32 = 0

    public init() {}
}
