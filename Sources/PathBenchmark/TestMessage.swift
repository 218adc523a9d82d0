/// What the two ends of a test say to each other, each in one message of 64 bytes.
///
/// Over TCP: `greeting`, then `welcome` or `refusal`; for each part `request` and `ready`,
/// then, as the streams that it asks for have come (each with a `stream` of its own), `started`,
/// several `progress` and one `result`. Over UDP: `probe`, sent back as it is.
public enum TestMessage: Hashable, Sendable {
    /// Opens a test.
    case greeting
    /// The test may begin.
    case welcome(TestToken, Offer)
    /// There will be no test, or not this part of it.
    case refusal(Refusal)
    case request(Direction, streamCount: UInt16, milliseconds: UInt32)
    /// The streams that were asked for may come.
    case ready
    /// A connection that carries bytes of the part that was asked for.
    case stream(TestToken)
    case started
    case progress(Transfer)
    case result(Transfer)
    /// - number: Counted from 0 in each part.
    case probe(TestToken, number: UInt64)

    /// What a server allows.
    public struct Offer: Hashable, Sendable {
        public var streamsMax: UInt16
        public var millisecondsMax: UInt32

        public init(streamsMax: UInt16, millisecondsMax: UInt32) {
            self.streamsMax = streamsMax
            self.millisecondsMax = millisecondsMax
        }
    }

    /// What has been carried.
    public struct Transfer: Hashable, Sendable {
        public var byteCount: UInt64
        public var nanoseconds: UInt64
        /// Segments that the server sent again.
        public var retransmissions: UInt64

        public init(byteCount: UInt64, nanoseconds: UInt64, retransmissions: UInt64) {
            self.byteCount = byteCount
            self.nanoseconds = nanoseconds
            self.retransmissions = retransmissions
        }

        /// `nil` before any time has passed.
        public var bitsPerSecond: Double? {
            nanoseconds > 0 ? Double(byteCount) * 8e9 / Double(nanoseconds) : nil
        }
    }

    public enum Direction: UInt8, Hashable, Sendable, CaseIterable {
        /// From the client to the server.
        case up = 1
        case down = 2
    }

    public enum Refusal: UInt8, Hashable, Sendable, CaseIterable {
        /// Another test runs.
        case busy = 1
        /// More streams or seconds than the server allows.
        case beyondLimits = 2
        /// Streams that were asked for have not come.
        case streamsMissing = 3
        /// The server lacks what it needs, such as the UDP port.
        case unavailable = 4
        /// The other side speaks another version, the one that this message has.
        case version = 5
    }
}

/// What only the two ends of one test know, so that nobody else's bytes count.
public struct TestToken: Hashable, Sendable {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public init(using generator: inout some RandomNumberGenerator) {
        self.init(high: generator.next(), low: generator.next())
    }
}
