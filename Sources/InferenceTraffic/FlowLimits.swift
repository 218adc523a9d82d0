/// What the flow table holds, and where it draws the lines between classes.
enum FlowLimits {
    // MARK: The table

    /// Tunnels that have flows of their own; a number beyond is not tracked.
    static let tunnelsMax = 1 << 16
    /// A flow moves to the front of its tunnel's list at most so often.
    static let listingNanoseconds: UInt64 = 16_000_000
    /// Flows that are silent for so long are over.
    static let tcpIdleNanoseconds: UInt64 = 3_600 * second
    static let udpIdleNanoseconds: UInt64 = 300 * second
    static let closedIdleNanoseconds: UInt64 = 10 * second
    /// Ended flows that one newcomer clears away.
    static let expiredPerNewcomer = 2
    /// Flows that one report looks at: it is made between packets.
    static let reportedMax = 4_096
    /// Combinations of class, service and peer that are measured, of all tunnels.
    static let measuresMax = 1_024
    /// Those of one tunnel at least, beyond which no peer and no service gets a row of its own; at
    /// most it is a tunnel's share of three quarters of all, another tunnel reckoned with.
    static let measuresPerTunnel = 16
    /// Connections whose heads are read at once, as a part of the table's capacity, and the bounds.
    static let scannersPerFlow = 50
    static let scannersMin = 16
    static let scannersMax = 1_024

    // MARK: Classes

    /// Of any request, and of anything unknown, so much is `token`.
    static let beginningBytes: UInt32 = 16 << 10
    /// A flow that begins again and again has so many beginnings at once, and one more for each
    /// pause: 64 KiB a second, a small part of any line that can carry inference.
    static let beginningsMax: UInt8 = 16
    static let beginningNanoseconds: UInt64 = 250_000_000
    /// What shows nothing is bulk when it sends more than this without a pause.
    static let promptBytes: UInt32 = 1 << 20
    /// A body that is longer is no prompt.
    static let bodyBytes: UInt32 = 8 << 20
    /// After such a pause a burst is another one.
    static let pauseNanoseconds: UInt64 = second
    /// A direction without payload for so long carries acknowledgements only.
    static let quietNanoseconds: UInt64 = second
    /// Bits per second that tokens do not exceed for long, as bytes per second.
    static let tokenBytesPerSecond: UInt64 = 125_000
    /// What they may be ahead of that rate, in bytes, and below which they are trusted again.
    static let tokenBurstBytes: UInt32 = 64 << 10
    static let tokenCalmBytes: UInt32 = 16 << 10
    /// What IP and TCP need for headers at most: anything more counts as payload does.
    static let headerBytesMax = 120
    /// Somebody waits where the first token is asked for within this, whatever for.
    static let firstTokenMillisecondsMax: Int32 = 10_000
    /// A longer datagram is not small.
    static let smallDatagramBytes = 600

    // MARK: Streams

    /// Payload that is nearer than this to the piece before belongs to its chunk.
    static let chunkNanosecondsMin: UInt64 = 5_000_000
    static let chunkNanosecondsMax: UInt64 = 250_000_000
    /// Where headers have told of a stream, only what comes in one go is one chunk.
    static let toldChunkNanosecondsMin: UInt64 = 500_000
    /// A chunk of tokens is at most so long, in bytes.
    static let chunkBytesMax: UInt32 = 1_200
    /// So many chunks in a row are a stream of tokens.
    static let chunksOfStream: UInt16 = 6
    /// A longer gap in a stream is a stall; after the second one nothing is known any more.
    static let stallNanoseconds: UInt64 = second
    static let streamEndNanoseconds: UInt64 = 30 * second
    /// Payload of a client that does not end a stream: window updates, pings and the like, which
    /// come after so many chunks at the earliest.
    static let housekeepingBytes = 100
    static let housekeepingChunks: UInt16 = 8

    /// Attempts to read what a connection begins with, its requests included.
    static let scansPerFlow: UInt8 = 8

    /// A stream that ended less than this ago is still shown among those that go on.
    static let recentNanoseconds: UInt64 = 10 * second

    // MARK: TCP

    /// Sequence numbers that are farther away belong to nothing that is known.
    static let sequenceJump: Int32 = 1 << 24
    /// FIN and RST are within so many bytes of what is expected next, or were made by somebody
    /// who does not see the connection: a window that is in use.
    static let endDistanceMax: UInt32 = 1 << 20
    /// What fills a hole sooner was reordered; later, it was sent again.
    static let reorderingNanoseconds: UInt64 = 20_000_000

    static let second: UInt64 = 1_000_000_000
}
