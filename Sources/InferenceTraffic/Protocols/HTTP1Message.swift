import PacketMemory

/// One direction of an HTTP/1.1 connection, message after message, byte by byte.
///
/// Where two readers could disagree about where a message ends, nothing is guessed: bare LF, folded
/// lines, white space before a colon, two lengths, a transfer coding beside a length. Source: RFC
/// 9112; field semantics RFC 9110.
struct HTTP1Message {
    private enum State: UInt8 {
        case start, emptyLineEnd
        case method, target
        case status, reason
        case version, startLineEnd
        case fieldStart, name, valueStart, value, fieldEnd, headEnd
        case body, bodyUntilClose
        case chunkSize, chunkExtension, chunkSizeEnd, chunk, chunkEnd, chunkLineEnd
    }

    let isRequest: Bool
    private var state = State.start
    private var isTrailer = false
    private var isVersion10 = false
    private var length: UInt64?
    private var isChunked = false

    /// Bytes of the name, of the value, and of the value without white space at its end.
    private var nameCount: UInt32 = 0
    private var valueCount: UInt32 = 0
    private var trimmedCount: UInt32 = 0
    private var field = HTTPField.other

    /// Of the body, or of the chunk.
    private var remaining: UInt64 = 0
    private var digitCount: UInt8 = 0
    private var extensionCount: UInt16 = 0
    private var clock = HeadClock()

    init(isRequest: Bool) { self.isRequest = isRequest }

    /// Bytes that may be missing without harm.
    var skippable: UInt64 {
        switch state {
        case .body, .chunk: remaining
        case .bodyUntilClose: .max
        default: 0
        }
    }

    func isLate(now: UInt64) -> Bool { clock.isLate(now: now) }

    mutating func read(
        _ bytes: ByteRegion, scratch: ByteRegion, exchange: inout HTTP1Exchange,
        events: inout ScanEvents, readsUsage: Bool, now: UInt64,
        vocabulary: borrowing Vocabulary
    ) {
        var offset = 0
        while offset < bytes.count, events.reason == .none {
            let skippable = skippable
            if skippable > 0 {
                let count = Int(min(skippable, UInt64(bytes.count &- offset)))
                let piece = bytes.region(at: offset, count: count)
                if !isRequest, readsUsage {
                    events.count(tokens: exchange.usage.read(piece, vocabulary: vocabulary))
                }
                took(count, exchange: &exchange, events: &events)
                offset &+= count
            } else {
                let byte = bytes[offset]
                offset &+= 1
                if isInHead, !clock.tick(now: now) {
                    events.fail(.hugeHead)
                } else if isInHead, !exchange.budget.take(now: now) {
                    events.fail(.manyHeads)
                } else {
                    step(
                        byte, scratch: scratch, exchange: &exchange, events: &events,
                        vocabulary: vocabulary)
                }
            }
        }
    }

    /// Goes on behind bytes that are missing.
    ///
    /// - Parameter count: At most ``skippable``.
    mutating func skip(
        _ count: UInt64, exchange: inout HTTP1Exchange, events: inout ScanEvents
    ) {
        exchange.usage.skip()
        took(Int(truncatingIfNeeded: count), exchange: &exchange, events: &events)
    }

    /// The side has sent its last byte.
    mutating func end(exchange: inout HTTP1Exchange, events: inout ScanEvents) {
        if state == .bodyUntilClose { messageEnded(exchange: &exchange, events: &events) }
    }

    // MARK: - Bodies (RFC 9112, sections 6 and 7)

    private mutating func took(
        _ count: Int, exchange: inout HTTP1Exchange, events: inout ScanEvents
    ) {
        if isRequest {
            events.requestBodyBytes &+= UInt32(truncatingIfNeeded: count)
        } else {
            events.kinds.insert(.responseChunk)
            events.responseBodyBytes &+= UInt32(truncatingIfNeeded: count)
            if state != .chunk, events.responseChunks == 0 { events.responseChunks = 1 }
        }
        guard state != .bodyUntilClose else { return }
        remaining &-= UInt64(count)
        guard remaining == 0 else { return }
        if state == .chunk {
            state = .chunkEnd
        } else {
            messageEnded(exchange: &exchange, events: &events)
        }
    }

    private mutating func messageEnded(
        exchange: inout HTTP1Exchange, events: inout ScanEvents
    ) {
        self = HTTP1Message(isRequest: isRequest)
        if isRequest {
            events.requestEnded()
        } else {
            exchange.responseEnded()
            events.responseEnded()
        }
    }

    private mutating func readChunkSize(_ byte: UInt8, events: inout ScanEvents) {
        if let digit = byte.hexadecimalDigit {
            guard digitCount < 15 else { return events.fail(.ambiguous) }
            digitCount &+= 1
            remaining = remaining &<< 4 | UInt64(digit)
            return
        }
        guard digitCount > 0 else { return events.fail(.malformed) }
        switch byte {
        case Byte.cr: state = .chunkSizeEnd
        case Byte.semicolon, Byte.space, Byte.tab:
            (state, extensionCount) = (.chunkExtension, 0)
        default: events.fail(.ambiguous)
        }
    }

    private mutating func chunkSizeEnded(events: inout ScanEvents) {
        digitCount = 0
        if remaining == 0 {
            isTrailer = true
            state = .fieldStart
            return
        }
        clock = HeadClock()
        state = .chunk
        if !isRequest { events.responseChunks &+= 1 }
    }

    // MARK: - Heads

    private var isInHead: Bool {
        switch state {
        case .chunkSize, .body, .bodyUntilClose, .chunk, .chunkEnd, .chunkLineEnd: false
        default: true
        }
    }

    private mutating func step(
        _ byte: UInt8, scratch: ByteRegion, exchange: inout HTTP1Exchange,
        events: inout ScanEvents, vocabulary: borrowing Vocabulary
    ) {
        switch state {
        case .start: begin(byte, scratch: scratch, events: &events)
        case .emptyLineEnd: expectLineFeed(byte, then: .start, events: &events)
        case .method, .target, .version, .status, .reason:
            readStartLine(
                byte, scratch: scratch, exchange: &exchange, events: &events,
                vocabulary: vocabulary)
        case .startLineEnd: expectLineFeed(byte, then: .fieldStart, events: &events)
        case .fieldStart, .name, .valueStart, .value:
            readField(byte, scratch: scratch, events: &events, vocabulary: vocabulary)
        case .fieldEnd:
            guard byte == Byte.lf else { return events.fail(.ambiguous) }
            fieldEnded(
                scratch: scratch, exchange: &exchange, events: &events, vocabulary: vocabulary)
        case .headEnd:
            guard byte == Byte.lf else { return events.fail(.ambiguous) }
            if isTrailer {
                messageEnded(exchange: &exchange, events: &events)
            } else if isRequest {
                requestHeadEnded(exchange: &exchange, events: &events)
            } else {
                responseHeadEnded(exchange: &exchange, events: &events)
            }
        case .chunkSize: readChunkSize(byte, events: &events)
        case .chunkExtension:
            // Section 7.1.1: quoted strings hold no line ends either.
            extensionCount &+= 1
            if byte == Byte.cr {
                state = .chunkSizeEnd
            } else if Int(extensionCount) > ScanLimits.chunkExtensionBytesMax {
                events.fail(.hugeHead)
            } else if !Byte.isFieldText(byte) {
                events.fail(.ambiguous)
            }
        case .chunkSizeEnd:
            guard byte == Byte.lf else { return events.fail(.ambiguous) }
            chunkSizeEnded(events: &events)
        case .chunkEnd:
            guard byte == Byte.cr else { return events.fail(.ambiguous) }
            state = .chunkLineEnd
        case .chunkLineEnd: expectLineFeed(byte, then: .chunkSize, events: &events)
        case .body, .bodyUntilClose, .chunk: events.fail(.malformed)
        }
    }

    private mutating func expectLineFeed(
        _ byte: UInt8, then next: State, events: inout ScanEvents
    ) {
        if byte == Byte.lf { state = next } else { events.fail(.ambiguous) }
    }

    private mutating func begin(
        _ byte: UInt8, scratch: ByteRegion, events: inout ScanEvents
    ) {
        // Section 2.2: empty lines before a request-line are ignored.
        if isRequest, byte == Byte.cr {
            state = .emptyLineEnd
            return
        }
        guard Byte.isToken(byte) else { return events.fail(.malformed) }
        if isRequest { events.requestStarted() }
        state = isRequest ? .method : .version
        valueCount = 0
        put(byte, scratch)
    }

    // MARK: - Start lines (sections 3 and 4)

    private mutating func readStartLine(
        _ byte: UInt8, scratch: ByteRegion, exchange: inout HTTP1Exchange,
        events: inout ScanEvents, vocabulary: borrowing Vocabulary
    ) {
        let isEnd = byte == Byte.cr
        if state == .reason {
            if isEnd {
                state = .startLineEnd
            } else if !Byte.isFieldText(byte) {
                events.fail(.malformed)
            }
            return
        }
        guard byte == Byte.space || isEnd else {
            guard byte > 0x20, byte < 0x7F || state == .target else {
                return events.fail(.malformed)
            }
            if state == .method, !Byte.isToken(byte) || valueCount >= Self.methodMax {
                return events.fail(.malformed)
            }
            if state == .version || state == .status, valueCount >= 8 {
                return events.fail(.malformed)
            }
            put(byte, scratch)
            return
        }
        let part = Scratch.value(scratch, count: Int(valueCount))
        let isWhole = valueCount <= UInt32(Scratch.valueMax)
        valueCount = 0
        switch state {
        case .method where !isEnd && part.count > 0:
            exchange.request = RequestSummary()
            let meaning = vocabulary.meaning(of: .method, part, isWhole: isWhole)
            exchange.request.note(.method, meaning)
            state = .target
        case .target where !isEnd && part.count > 0:
            let meaning = vocabulary.meaning(of: .path, part, isWhole: isWhole)
            exchange.request.note(.path, meaning)
            state = .version
        case .version where isEnd == isRequest:
            isVersion10 = vocabulary.isEqual(part, .version10)
            guard part.count > 0, part[0] == UInt8(ascii: "H"),
                isVersion10 || vocabulary.isEqual(part, .version11)
            else { return events.fail(.malformed) }
            state = isRequest ? .startLineEnd : .status
        case .status:
            guard let status = vocabulary.meaning(of: .status, part, isWhole: isWhole),
                status >= 100
            else { return events.fail(.malformed) }
            exchange.response = ResponseSummary()
            exchange.response.note(.status, status)
            state = isEnd ? .startLineEnd : .reason
        default: events.fail(.malformed)
        }
    }

    private mutating func put(_ byte: UInt8, _ scratch: ByteRegion) {
        Scratch.putValue(byte, at: Int(valueCount), scratch)
        valueCount &+= 1
    }

    // MARK: - Fields (section 5)

    private mutating func readField(
        _ byte: UInt8, scratch: ByteRegion, events: inout ScanEvents,
        vocabulary: borrowing Vocabulary
    ) {
        switch state {
        case .fieldStart where byte == Byte.cr: state = .headEnd
        case .fieldStart, .name:
            if byte == Byte.colon, state == .name {
                field =
                    nameCount > UInt32(Scratch.nameMax)
                    ? .other
                    : vocabulary.field(named: Scratch.name(scratch, count: Int(nameCount)))
                state = .valueStart
                return
            }
            // White space here is obs-fold (section 5.2) or stands before a colon (section 5.1).
            guard Byte.isToken(byte) else {
                return events.fail(Byte.isSpace(byte) ? .ambiguous : .malformed)
            }
            if state == .fieldStart { nameCount = 0 }
            Scratch.putName(byte, at: Int(nameCount), scratch)
            nameCount &+= 1
            state = .name
        default:
            if state == .valueStart { (valueCount, trimmedCount) = (0, 0) }
            if byte == Byte.cr {
                state = .fieldEnd
            } else if !Byte.isFieldText(byte) {
                events.fail(.ambiguous)
            } else if Byte.isSpace(byte) {
                if state == .value { put(byte, scratch) }
            } else {
                put(byte, scratch)
                trimmedCount = valueCount
                state = .value
            }
        }
    }

    private mutating func fieldEnded(
        scratch: ByteRegion, exchange: inout HTTP1Exchange, events: inout ScanEvents,
        vocabulary: borrowing Vocabulary
    ) {
        state = .fieldStart
        // Trailers change no framing (section 7.1.2).
        guard !isTrailer, field != .other else { return }
        let value = Scratch.value(scratch, count: Int(trimmedCount))
        let isWhole = trimmedCount <= UInt32(Scratch.valueMax)
        let meaning = vocabulary.meaning(of: field, value, isWhole: isWhole)
        switch field {
        case .contentLength:
            // Section 6.3: two lengths, or a list of them, are an attack or an error.
            guard let meaning, length == nil else { return events.fail(.ambiguous) }
            length = meaning
        case .transferEncoding:
            guard meaning != nil, !isChunked else { return events.fail(.ambiguous) }
            isChunked = true
            return
        case .method, .path, .status, .other: return
        case .contentType, .objective, .firstTokenMilliseconds: break
        }
        if isRequest {
            exchange.request.note(field, meaning)
        } else {
            exchange.response.note(field, meaning)
        }
    }

    // MARK: - Lengths of messages (section 6.3)

    private mutating func requestHeadEnded(
        exchange: inout HTTP1Exchange, events: inout ScanEvents
    ) {
        // Sections 6.1 and 6.3: a coding beside a length, or in HTTP/1.0, is smuggling's shape.
        if isChunked, length != nil || isVersion10 { return events.fail(.ambiguous) }
        guard exchange.requestBegan() else { return events.fail(.tooMany) }
        events.requestHeaders(exchange.request)
        clock = HeadClock()
        if isChunked {
            state = .chunkSize
        } else if let length, length > 0 {
            (state, remaining) = (.body, length)
        } else {
            messageEnded(exchange: &exchange, events: &events)
        }
    }

    private mutating func responseHeadEnded(
        exchange: inout HTTP1Exchange, events: inout ScanEvents
    ) {
        if isChunked, length != nil || isVersion10 { return events.fail(.ambiguous) }
        let status = exchange.response.status
        if status == 101 { return events.fail(.upgraded) }
        if status < 200 {
            if isChunked || length != nil { return events.fail(.ambiguous) }
            self = HTTP1Message(isRequest: false)
            events.kinds.insert(.interimResponse)
            return
        }
        guard exchange.pending > 0 else { return events.fail(.malformed) }
        events.responseHeaders(exchange.response)
        exchange.isAnswering = true
        if exchange.isConnect, status < 300 { return events.fail(.upgraded) }
        clock = HeadClock()
        if exchange.isHead || status == 204 || status == 304 {
            messageEnded(exchange: &exchange, events: &events)
        } else if isChunked {
            state = .chunkSize
        } else if let length {
            (state, remaining) = (.body, length)
            if length == 0 { messageEnded(exchange: &exchange, events: &events) }
        } else {
            state = .bodyUntilClose
        }
    }

    private static var methodMax: UInt32 { 16 }
}

/// What the two directions of an HTTP/1.1 connection know of each other.
struct HTTP1Exchange {
    /// The last heads, complete or not.
    var request = RequestSummary()
    var response = ResponseSummary()
    var usage = UsageScanner()
    var budget = HeadBudget()
    /// Requests without their final response's end.
    private(set) var pending: UInt8 = 0
    /// A response's head is complete and its end is not.
    var isAnswering = false
    /// Bit 0 is the request that is answered next (RFC 9112, section 9.3.2).
    private var heads: UInt32 = 0
    private var connects: UInt32 = 0

    var isHead: Bool { heads & 1 != 0 }
    var isConnect: Bool { connects & 1 != 0 }
    var isStreaming: Bool { isAnswering && response.isStreaming }

    mutating func requestBegan() -> Bool {
        guard Int(pending) < ScanLimits.pipelineMax else { return false }
        if request.method == .head { heads |= 1 &<< UInt32(pending) }
        if request.method == .connect { connects |= 1 &<< UInt32(pending) }
        pending &+= 1
        return true
    }

    mutating func responseEnded() {
        heads &>>= 1
        connects &>>= 1
        pending &-= 1
        isAnswering = false
        usage.end()
    }
}

/// Bounds a head in bytes and in time.
struct HeadClock {
    private var byteCount: UInt32 = 0
    private var start: UInt64 = 0

    mutating func tick(now: UInt64) -> Bool {
        if byteCount == 0 { start = now }
        byteCount &+= 1
        return byteCount <= UInt32(ScanLimits.headBytesMax)
    }

    func isLate(now: UInt64) -> Bool {
        byteCount > 0 && now > start && now &- start > ScanLimits.headNanosecondsMax
    }
}

/// Characters of HTTP's grammar (RFC 9110, section 5.6.2; RFC 9112, section 2).
enum Byte {
    static let tab: UInt8 = 0x09
    static let lf: UInt8 = 0x0A
    static let cr: UInt8 = 0x0D
    static let space: UInt8 = 0x20
    static let colon = UInt8(ascii: ":")
    static let semicolon = UInt8(ascii: ";")

    static func isSpace(_ byte: UInt8) -> Bool { byte == space || byte == tab }

    /// Without line ends, NUL and other controls.
    static func isFieldText(_ byte: UInt8) -> Bool {
        byte >= 0x20 ? byte != 0x7F : byte == tab
    }

    static func isToken(_ byte: UInt8) -> Bool {
        if byte.lowercased &- 0x61 < 26 || byte &- 0x30 < 10 { return true }
        switch byte {
        case 0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C,
            0x7E:
            return true
        default: return false
        }
    }
}
