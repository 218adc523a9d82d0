import PacketFormats

/// Where a flow is between a request and its answer, and how the answer comes.
struct Answer {
    var phase = FlowPhase.idle
    /// The last byte of a request was seen, and no answer yet.
    var isAwaited = false
    /// What a head said of the latest request.
    var intent = RequestIntent.unknown
    var method = RequestMethod.other
    var path = PathClass.other
    var contentType = ContentType.none
    /// The body is longer than a prompt is, as the head says.
    var isLong = false
    /// Heads have told that tokens stream now.
    var isToldStream = false
    /// Sizes and times alone look like it.
    var isLikelyStream = false
    var hasStreamed = false
    /// Chunks in a row that look like tokens.
    var run: UInt16 = 0
    /// Chunks since the client sent anything.
    var chunksSinceClient: UInt16 = 0
    var chunkBytes: UInt32 = 0
    var chunkNanoseconds: UInt64 = 0
    var requestEndNanoseconds: UInt64 = 0
    /// Of the latest answer; 0: none yet.
    var firstChunkNanoseconds: UInt64 = 0
    var interChunkNanoseconds: UInt64 = 0
    var interChunkMaxNanoseconds: UInt64 = 0
    var requests: UInt32 = 0
    var chunks: UInt32 = 0
    var stalls: UInt32 = 0
    /// Chunks that stood for tokens which no usage record has told of yet.
    var chargedChunks: UInt32 = 0

    @inline(__always)
    var isStream: Bool { isToldStream || isLikelyStream }
}

/// What a request is for, as far as its class goes.
enum RequestIntent: UInt8 {
    case unknown
    /// A person or an agent waits for the answer.
    case interactive
    /// Nobody waits: embeddings, batches, files.
    case background
    /// KV caches, models.
    case transfer
}

extension RequestSummary {
    fileprivate var hasShortDeadline: Bool {
        firstTokenMilliseconds >= 0
            && firstTokenMilliseconds <= FlowLimits.firstTokenMillisecondsMax
    }
}

extension Answer {
    /// What the head of a request says.
    mutating func take(_ request: RequestSummary) {
        method = request.method
        path = request.path
        contentType = .none
        isLong = request.contentLength > Int64(FlowLimits.bodyBytes)
        switch (request.objective, request.path) {
        case (.interactive, _): intent = .interactive
        case (.batch, _): intent = .background
        case (_, .transfer): intent = .transfer
        case _ where request.hasShortDeadline: intent = .interactive
        case (_, .embeddings), (_, .batches), (_, .files): intent = .background
        case (_, .generation), (_, .other): intent = .interactive
        }
    }

    /// A request begins; the stream before it is over.
    mutating func beginRequest() {
        phase = .request
        isAwaited = false
        isLikelyStream = false
        run = 0
        chunkBytes = 0
        chunkNanoseconds = 0
        chunksSinceClient = 0
        interChunkNanoseconds = 0
        interChunkMaxNanoseconds = 0
        firstChunkNanoseconds = 0
    }

    /// What a tenant is charged for a packet: its chunks stand for tokens until a usage record says
    /// how many there were; then only what is missing.
    mutating func charge(chunks: UInt32, tokens: UInt32) -> Int {
        chargedChunks &+= chunks
        let told = min(tokens, chargedChunks)
        chargedChunks &-= told
        return Int(chunks) + Int(tokens &- told)
    }

    mutating func endStream() {
        isToldStream = false
        isLikelyStream = false
        isAwaited = false
        phase = .idle
    }

    mutating func endRequest(now: UInt64) {
        phase = .waiting
        isAwaited = true
        requestEndNanoseconds = now
    }

    /// Payload of a server, of a chunk that has begun or of a new one.
    ///
    /// - Parameter isTold: Whether heads are read: what they show is not guessed.
    mutating func takeChunk(
        _ byteCount: Int, isTold: Bool, mayStream: Bool, now: UInt64, notes: inout FlowNotes
    ) {
        let isFirst = isAwaited
        if isFirst {
            isAwaited = false
            firstChunkNanoseconds = max(now &- requestEndNanoseconds, 1)
            if isTold { notes.firstChunkNanoseconds = firstChunkNanoseconds }
        }
        phase = .streaming
        let interval = now &- chunkNanoseconds
        let least =
            isToldStream ? FlowLimits.toldChunkNanosecondsMin : FlowLimits.chunkNanosecondsMin
        if !isFirst, chunkNanoseconds != 0, interval < least {
            chunkBytes = chunkBytes &+ UInt32(truncatingIfNeeded: min(byteCount, 1 << 20))
            if chunkBytes > FlowLimits.chunkBytesMax { run = 0 }
            if isStream { notes.streamBytes = UInt32(truncatingIfNeeded: byteCount) }
            return
        }
        let isNext = !isFirst && chunkNanoseconds != 0
        advanceRun(isNext: isNext, interval: interval, byteCount: byteCount, now: now)
        chunkNanoseconds = now
        chunkBytes = UInt32(truncatingIfNeeded: min(byteCount, 1 << 20))
        if isToldStream || isLikelyStream {
            noteChunk(isNext: isNext, interval: interval, byteCount: byteCount, notes: &notes)
        } else if !isTold, mayStream, run >= FlowLimits.chunksOfStream {
            confirm(notes: &notes)
        }
    }

    /// A gap that tokens do not make begins the answer anew, as far as is guessed: what came
    /// before was something else, such as the session tickets of TLS.
    private mutating func advanceRun(
        isNext: Bool, interval: UInt64, byteCount: Int, now: UInt64
    ) {
        let isSmall = byteCount <= Int(FlowLimits.chunkBytesMax)
        if isNext, interval <= FlowLimits.chunkNanosecondsMax, isSmall,
            chunkBytes <= FlowLimits.chunkBytesMax
        {
            if run < .max { run += 1 }
        } else {
            if isNext, !isStream, firstChunkNanoseconds != 0,
                interval > FlowLimits.chunkNanosecondsMax
            {
                firstChunkNanoseconds = max(now &- requestEndNanoseconds, 1)
            }
            run = isSmall ? 1 : 0
        }
    }

    private mutating func noteChunk(
        isNext: Bool, interval: UInt64, byteCount: Int, notes: inout FlowNotes
    ) {
        chunks &+= 1
        if chunksSinceClient < .max { chunksSinceClient += 1 }
        notes.chunks = 1
        notes.streamBytes = UInt32(truncatingIfNeeded: byteCount)
        guard isNext, interval < FlowLimits.streamEndNanoseconds else { return }
        notes.interChunkNanoseconds = max(interval, 1)
        if interval > FlowLimits.stallNanoseconds {
            stalls &+= 1
            notes.stalls = 1
        }
        interChunkMaxNanoseconds = max(interChunkMaxNanoseconds, interval)
        // As RFC 6298 smooths round-trip times: one eighth of what is new.
        interChunkNanoseconds = interChunkNanoseconds == 0
            ? interval : interChunkNanoseconds &- interChunkNanoseconds / 8 &+ interval / 8
    }

    /// The run has become long enough: it counts as a stream from its beginning.
    private mutating func confirm(notes: inout FlowNotes) {
        isLikelyStream = true
        hasStreamed = true
        chunks &+= UInt32(run)
        chunksSinceClient = run
        requests &+= 1
        notes.requests = 1
        notes.streams = 1
        notes.chunks = UInt32(run)
        notes.firstChunkNanoseconds = firstChunkNanoseconds
    }
}
