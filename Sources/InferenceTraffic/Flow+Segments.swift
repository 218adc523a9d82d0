import PacketFormats
import PacketMemory

/// One TCP segment, or a frame of many that follow each other.
struct Segment {
    let payload: ByteRegion
    let sequence: UInt32
    let acknowledgment: UInt32
    let flags: UInt8
    /// Segments in the frame.
    let count: Int
    /// Of the whole packet.
    let packetByteCount: Int

    /// - Parameter packet: Of TCP.
    /// - Returns: `nil` if the header does not fit.
    @inline(__always)
    init?(_ packet: IPPacket, segmentByteCount: Int) {
        let transport = packet.transport
        guard transport.count >= TCPField.headerCountMin else { return nil }
        let headerCount = Int(transport[TCPField.dataOffset] >> 4) &* 4
        guard headerCount >= TCPField.headerCountMin, headerCount <= transport.count
        else { return nil }
        payload = transport.region(from: headerCount)
        sequence = transport.bigEndian32(at: TCPField.sequence)
        acknowledgment = transport.bigEndian32(at: TCPField.acknowledgment)
        flags = transport[TCPField.flags]
        count = segmentByteCount > 0 && payload.count > segmentByteCount
            ? (payload.count &+ segmentByteCount &- 1) / segmentByteCount : 1
        packetByteCount = packet.totalCount
    }

    /// Payload, and headers beyond what headers need: 0 for an acknowledgement.
    @inline(__always)
    var weight: Int {
        payload.count &+ max(packetByteCount &- payload.count &- FlowLimits.headerBytesMax, 0)
    }

    @inline(__always)
    var isSYN: Bool { flags & TCPField.syn != 0 }
    @inline(__always)
    var isFIN: Bool { flags & TCPField.fin != 0 }
    @inline(__always)
    var isRST: Bool { flags & TCPField.rst != 0 }
    /// Of a direction or, with RST, of both.
    @inline(__always)
    var isEnd: Bool { flags & (TCPField.fin | TCPField.rst) != 0 }
}

extension Flow {
    @inline(__always)
    mutating func withWay<Result>(
        _ direction: FlowDirection, _ body: (inout Way) -> Result
    ) -> Result {
        direction == .outbound ? body(&out) : body(&`in`)
    }

    /// Whether a FIN or RST can be of the connection's ends, to ask before its payload is placed.
    ///
    /// The answer to a SYN that is refused has no number of its own, and acknowledges the SYN.
    /// Source: RFC 9293, section 3.5.2; RFC 5961, section 3.
    func mayEnd(_ segment: Segment, _ direction: FlowDirection) -> Bool {
        let isOutbound = direction == .outbound
        let (way, other) = isOutbound ? (out, `in`) : (`in`, out)
        if way.isKnown { return way.isNear(segment.sequence) }
        guard other.isKnown, segment.flags & TCPField.ack != 0 else { return true }
        return other.isNear(segment.acknowledgment)
    }

    /// FIN or RST.
    mutating func noteEnd(_ segment: Segment, _ direction: FlowDirection) {
        if segment.isRST {
            out.isClosed = true
            `in`.isClosed = true
        } else {
            withWay(direction) { $0.isClosed = true }
        }
    }

    /// Payload that goes on where a direction had ended: it had not. What fills a hole is no such
    /// sign, for it was sent before the end.
    ///
    /// - Returns: Whether anything had ended.
    @inline(__always)
    mutating func reopen(
        _ segment: Segment, _ direction: FlowDirection, _ arrival: Arrival
    ) -> Bool {
        let end = segment.sequence &+ UInt32(truncatingIfNeeded: segment.payload.count)
        return withWay(direction) {
            guard $0.isClosed, !arrival.isJump, $0.next == end else { return false }
            $0.isClosed = false
            return true
        }
    }

    /// Source: RFC 9293, sections 3.4 and 3.5.
    mutating func noteSYN(
        _ segment: Segment, _ direction: FlowDirection, now: UInt64
    ) {
        let isAnswer = segment.flags & TCPField.ack != 0
        let first = segment.sequence &+ 1
        let known = direction == .outbound ? out : `in`
        // A SYN that is repeated says the same; another one begins another connection.
        if !isAnswer, known.isKnown, known.next != first || known.bytes > 0 || isOver {
            restart(now: now)
        }
        withWay(direction) {
            guard $0.bytes == 0 else { return }
            $0.isKnown = true
            $0.next = first
            $0.first = first
            $0.isBegun = true
        }
        guard !isSideKnown else { return }
        isClientLocal = (direction == .outbound) != isAnswer
        isSideKnown = true
    }

    /// Payload of a TCP flow whose heads nobody reads: turns and times are all there is.
    mutating func noteUntold(
        _ newByteCount: Int, _ segment: Segment, _ direction: FlowDirection, now: UInt64,
        notes: inout FlowNotes
    ) {
        if side(direction) == .client {
            noteIperf(segment, direction)
            guard !isHousekeeping(newByteCount) else {
                answer.chunksSinceClient = 0
                return
            }
            if answer.phase != .request, answer.phase != .waiting {
                answer.beginRequest()
                // Heads that were read once, and are no more, tell nothing of this one.
                answer.isToldStream = false
                answer.chargedChunks = 0
                answer.intent = .unknown
                answer.isLong = false
                begin(direction, now: now)
            }
            answer.endRequest(now: now)
        } else {
            if answer.isAwaited { begin(direction, now: now) }
            answer.takeChunk(
                newByteCount, isTold: false, mayStream: !isExcluded && isTCP, now: now,
                notes: &notes)
        }
    }

    /// What a client says in the middle of a stream without asking for anything: HTTP/2's window
    /// updates, answers to pings.
    private func isHousekeeping(_ byteCount: Int) -> Bool {
        answer.isLikelyStream && byteCount <= FlowLimits.housekeepingBytes
            && answer.chunksSinceClient >= FlowLimits.housekeepingChunks
    }

    /// iperf3 begins every connection with a cookie: 36 letters and digits, and a zero.
    private mutating func noteIperf(_ segment: Segment, _ direction: FlowDirection) {
        let sent = direction == .outbound ? out.bytes : `in`.bytes
        guard sent <= 37, segment.payload.count == 37, segment.payload[36] == 0 else { return }
        for offset in 0..<36 {
            let byte = segment.payload[offset]
            let isLetter = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
            let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            guard isLetter || isDigit else { return }
        }
        isExcluded = true
    }

    /// A request or an answer begins in this direction.
    mutating func begin(_ direction: FlowDirection, now: UInt64) {
        withWay(direction) { way in
            // What has been counted of it already stays counted.
            way.begin(isPause: false, now: now)
        }
    }

    /// What the heads in a piece of the stream told.
    mutating func noteTold(
        _ events: ScanEvents, _ newByteCount: Int, _ direction: FlowDirection, now: UInt64,
        notes: inout FlowNotes
    ) {
        let kinds = events.kinds
        if kinds.contains(.requestStarted) {
            answer.beginRequest()
            // Of what still streams beside it, a usage record is yet to come.
            if events.tokenStreams == 0 { answer.chargedChunks = 0 }
            answer.requests &+= UInt32(events.requestsStarted)
            notes.requests = UInt32(events.requestsStarted)
            begin(direction, now: now)
            isSideKnown = true
        }
        if kinds.contains(.requestHeaders) {
            answer.take(events.request)
            if events.request.contentType == .grpc { isGRPC = true }
        }
        if kinds.contains(.requestEnded) {
            answer.endRequest(now: now)
        }
        if kinds.contains(.responseHeaders) { answer.contentType = events.response.contentType }
        if side(direction) == .server {
            noteToldAnswer(events, newByteCount, direction, now: now, notes: &notes)
        }
        if kinds.contains(.responseEnded), events.openRequests == 0 {
            answer.phase = .idle
            answer.isAwaited = false
        }
        if kinds.contains(.usage) { notes.tokens = events.tokens }
    }

    private mutating func noteToldAnswer(
        _ events: ScanEvents, _ newByteCount: Int, _ direction: FlowDirection, now: UInt64,
        notes: inout FlowNotes
    ) {
        let isAnswer = events.kinds.contains(.responseHeaders)
            || events.kinds.contains(.responseChunk)
        guard isAnswer else { return }
        if answer.isAwaited { begin(direction, now: now) }
        let streams = events.tokenStreams > 0
            || (events.kinds.contains(.responseHeaders) && events.response.isStreaming)
        if streams, !answer.isToldStream {
            answer.hasStreamed = true
            notes.streams = 1
        }
        answer.isToldStream = streams
        answer.takeChunk(
            newByteCount, isTold: true, mayStream: false, now: now, notes: &notes)
        if events.tokenStreams == 0 { answer.isToldStream = false }
    }
}

extension Flow {
    /// Whether what comes now may be the beginning of something that heads tell of.
    @inline(__always)
    func mayBeginReading(_ direction: FlowDirection) -> Bool {
        guard !isExcluded else { return false }
        if out.bytes | `in`.bytes == 0 { return true }
        // Later it takes a client's turn; what goes on in the middle of one is no beginning.
        return side(direction) == .client && answer.phase != .request && answer.phase != .waiting
            && !answer.isLikelyStream
    }

    /// Where the bytes of a side begin, when a segment of it is the first with payload.
    func firstSequence(_ direction: FlowDirection, _ segment: Segment) -> UInt32 {
        beganSequence(direction) ?? segment.sequence
    }

    /// What a SYN said, if one was seen. The first segment may be lost, and a later one come
    /// before it.
    private func beganSequence(_ direction: FlowDirection) -> UInt32? {
        let way = direction == .outbound ? out : `in`
        return way.isBegun ? way.first : nil
    }

    /// What a scanner says of itself.
    @inline(__always)
    mutating func noteReading(_ events: ScanEvents) {
        if events.kinds.contains(.protocolKnown) {
            told = events.protocol
            if told == .ssh { isExcluded = true }
        }
        if events.kinds.contains(.gaveUp) { noteGivenUp(events.reason) }
    }

    private mutating func noteGivenUp(_ reason: GiveUpReason) {
        scanner = .none
        switch reason {
        case .recycled, .gap, .none: break
        case .unknownProtocol:
            // Where the beginning was seen, there is nothing to understand later.
            if isSideKnown { scansLeft = 0 }
        case .hugeHead, .slowHead, .manyHeads, .ambiguous, .malformed, .upgraded, .tooMany,
            .finished:
            scansLeft = 0
        }
    }

    /// Silence ends a burst of what nobody can read.
    @inline(__always)
    mutating func pauseIfIdle(_ direction: FlowDirection, now: UInt64) {
        if toldEvidence != nil, !scanner.isNone { return }
        let way = direction == .outbound ? out : `in`
        guard way.payloadNanoseconds != 0,
            now &- way.payloadNanoseconds > FlowLimits.pauseNanoseconds
        else { return }
        withWay(direction) { $0.begin(isPause: true, now: now) }
    }

    @inline(__always)
    mutating func notePayload(
        _ newByteCount: Int, _ segment: Segment, _ direction: FlowDirection,
        events: ScanEvents?, now: UInt64, notes: inout FlowNotes
    ) {
        if let events, toldEvidence != nil {
            noteTold(events, newByteCount, direction, now: now, notes: &notes)
        } else {
            noteUntold(newByteCount, segment, direction, now: now, notes: &notes)
        }
    }

    /// - Parameter newByteCount: What of the segment had not been seen.
    /// - Returns: The bytes of the request, answer or burst before these.
    @inline(__always)
    mutating func countPayload(
        _ newByteCount: Int, _ segment: Segment, _ direction: FlowDirection, now: UInt64
    ) -> UInt32 {
        let isMetered = answer.isStream && side(direction) == .server
        return withWay(direction) { way in
            let burst = way.burst
            if isMetered { way.meter(segment.packetByteCount, now: now) }
            way.count(newByteCount, sent: segment.weight, now: now)
            return burst
        }
    }

    /// - Parameter packetByteCount: With headers, which is all that empty datagrams have.
    /// - Returns: The bytes of the burst before this datagram.
    mutating func noteDatagram(
        _ byteCount: Int, packetByteCount: Int, _ direction: FlowDirection, now: UInt64
    ) -> UInt32 {
        withWay(direction) { way in
            if way.payloadNanoseconds != 0,
                now &- way.payloadNanoseconds > FlowLimits.pauseNanoseconds
            {
                way.begin(isPause: true, now: now)
            }
            let burst = way.burst
            way.meter(packetByteCount, now: now)
            way.count(byteCount, sent: packetByteCount, now: now)
            return burst
        }
    }
}
