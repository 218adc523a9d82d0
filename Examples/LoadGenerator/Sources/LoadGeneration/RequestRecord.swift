/// What was seen of one request. Times are nanoseconds of the monotonic clock.
struct RequestRecord: Sendable {
    var began: UInt64 = 0
    var headArrived: UInt64?
    /// When the first piece of the answer with content arrived, or of a body that is no stream.
    var firstChunk: UInt64?
    var latestChunk: UInt64 = 0
    var ended: UInt64 = 0
    var status: UInt = 0
    var isEventStream = false
    /// Whether the stream said that it is over.
    var isComplete = false
    var hasFailedInStream = false
    var chunks = 0
    /// Time between one piece with content and the next; zero where both came together.
    var gaps: [UInt64] = []
    var bytesSent = 0
    var bytesReceived = 0
    /// The beginning of a body, for the words of an error.
    var bodyStart: [UInt8] = []

    /// Notes what a piece of the body brought.
    mutating func noteChunk(at now: UInt64) {
        chunks += 1
        if firstChunk == nil {
            firstChunk = now
        } else {
            gaps.append(now - latestChunk)
        }
        latestChunk = now
    }
}
