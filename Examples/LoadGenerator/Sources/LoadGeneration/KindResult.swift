/// What the requests of one kind came to.
public struct KindResult: Sendable {
    /// Requests that were answered whole.
    public internal(set) var requests = 0
    public internal(set) var failures = 0
    /// Under way when the run ended.
    public internal(set) var cut = 0
    /// Payload of requests that were answered, sent and received.
    public internal(set) var bytesUp = 0
    public internal(set) var bytesDown = 0
    /// Pieces of streamed answers; most servers send a token in each.
    public internal(set) var chunks = 0
    /// Gaps above a second inside of streams.
    public internal(set) var stalls = 0
    /// From the request's beginning to the first piece of the answer.
    public internal(set) var firstToken = LatencyHistogram()
    /// From one piece to the next; of `exchange`, a token's way there and back.
    public internal(set) var interToken = LatencyHistogram()
    /// From a request's beginning to its answer's end.
    public internal(set) var whole = LatencyHistogram()
    /// The first failure's words.
    public internal(set) var firstFailure: String?

    /// Adds a request that was answered whole.
    mutating func add(_ record: RequestRecord) {
        requests += 1
        bytesUp += record.bytesSent
        bytesDown += record.bytesReceived
        chunks += record.chunks
        if let first = record.firstChunk { firstToken.record(nanoseconds: first - record.began) }
        whole.record(nanoseconds: record.ended - record.began)
        for gap in record.gaps { noteGap(gap) }
    }

    mutating func noteGap(_ nanoseconds: UInt64) {
        interToken.record(nanoseconds: nanoseconds)
        if nanoseconds > Self.stallNanoseconds { stalls += 1 }
    }

    mutating func fail(_ words: String) {
        failures += 1
        if firstFailure == nil { firstFailure = words }
    }

    private static let stallNanoseconds: UInt64 = 1_000_000_000
}
