import PacketMemory

/// One direction of an HTTP/2 connection, frame after frame, byte by byte.
///
/// Source: RFC 9113, sections 3.4, 4 and 6; HPACK in ``HPACKDecoder``.
struct HTTP2Frames {
    private enum State: UInt8 {
        case preface, header, padLength, prefix, block, content, settings, padding, ignored
    }

    private enum FrameType {
        static let data: UInt8 = 0
        static let headers: UInt8 = 1
        static let priority: UInt8 = 2
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let pushPromise: UInt8 = 5
        static let ping: UInt8 = 6
        static let goAway: UInt8 = 7
        static let windowUpdate: UInt8 = 8
        static let continuation: UInt8 = 9
    }

    private enum Flag {
        static let endStream: UInt8 = 0x1
        static let acknowledgement: UInt8 = 0x1
        static let endHeaders: UInt8 = 0x4
        static let padded: UInt8 = 0x8
        static let priority: UInt8 = 0x20
    }

    let isClient: Bool
    private var state: State
    private var hasSettings = false

    /// Of the frame: type, flags, stream, bytes to come, padding among them.
    private var type: UInt8 = 0
    private var flags: UInt8 = 0
    private var stream: UInt32 = 0
    private var length: UInt32 = 0
    private var padding: UInt32 = 0
    private var hasContent = false

    /// Fields before the payload proper, gathered.
    private var gathered: UInt64 = 0
    private var gatheredCount: UInt8 = 0
    private var prefixCount: UInt8 = 0

    /// The stream whose field block is open; 0 for none.
    private var blockStream: UInt32 = 0
    private var blockEndsStream = false
    private var blockIsPromise = false
    private var blockIsHead = false
    private var lastStream: UInt32 = 0
    private var hpack = HPACKDecoder()
    private var clock = HeadClock()

    /// What the other side allows.
    private var frameBytesMax: UInt32 = 16_384

    init(isClient: Bool) {
        self.isClient = isClient
        state = isClient ? .preface : .header
    }

    var skippable: UInt64 {
        switch state {
        case .content: UInt64(length &- padding)
        case .padding, .ignored: UInt64(length)
        default: 0
        }
    }

    func isLate(now: UInt64) -> Bool { clock.isLate(now: now) }

    /// The other side allows a table of this size from now on, or from its acknowledgement on.
    mutating func allow(_ limits: HTTP2Limits) {
        if let size = limits.tableSize { hpack.sizeLimit = max(hpack.sizeLimit, size) }
        if let size = limits.frameBytesMax { frameBytesMax = max(frameBytesMax, size) }
    }

    mutating func read(
        _ bytes: ByteRegion, scratch: ByteRegion, entries: ByteRegion,
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents,
        readsUsage: Bool, now: UInt64, tables: borrowing ProtocolTables
    ) {
        var offset = 0
        while offset < bytes.count, events.reason == .none {
            let skippable = skippable
            if skippable > 0 {
                let count = Int(min(skippable, UInt64(bytes.count &- offset)))
                if state == .content {
                    tookContent(
                        bytes.region(at: offset, count: count), count, streams: streams,
                        events: &events, readsUsage: readsUsage, tables: tables)
                }
                tookLength(count, exchange: &exchange, streams: streams, events: &events)
                offset &+= count
            } else {
                step(
                    bytes[offset], scratch: scratch, entries: entries, exchange: &exchange,
                    streams: streams, events: &events, now: now, tables: tables)
                offset &+= 1
            }
        }
    }

    /// - Parameter count: At most ``skippable``.
    mutating func skip(
        _ count: UInt64, exchange: inout HTTP2Exchange, streams: ByteRegion,
        events: inout ScanEvents
    ) {
        let count = Int(truncatingIfNeeded: count)
        if state == .content {
            noteBody(count, events: &events)
            if let slot = HTTP2Stream.find(stream, in: streams) { slot.skip() }
        }
        tookLength(count, exchange: &exchange, streams: streams, events: &events)
    }

    private mutating func step(
        _ byte: UInt8, scratch: ByteRegion, entries: ByteRegion,
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents,
        now: UInt64, tables: borrowing ProtocolTables
    ) {
        switch state {
        case .preface:
            let place = Int(gatheredCount)
            guard byte == tables.vocabulary.byte(place, of: .http2Preface).uppercased
            else { return events.fail(.malformed) }
            gatheredCount &+= 1
            if place &+ 1 == tables.vocabulary.count(of: .http2Preface) { beginHeader() }
        case .header:
            readHeader(
                byte, exchange: &exchange, streams: streams, events: &events, now: now)
        case .padLength:
            padding = UInt32(byte)
            length &-= 1
            guard padding &+ UInt32(prefixCount) <= length else {
                return events.fail(.malformed)
            }
            enterPayload(exchange: &exchange, streams: streams, events: &events)
        case .prefix:
            prefixCount &-= 1
            length &-= 1
            if prefixCount == 0 {
                enterPayload(exchange: &exchange, streams: streams, events: &events)
            }
        case .settings:
            gathered = gathered &<< 8 | UInt64(byte)
            gatheredCount &+= 1
            if gatheredCount == 6 {
                guard exchange.budget.take(now: now) else { return events.fail(.manyHeads) }
                note(setting: gathered, exchange: &exchange)
                (gathered, gatheredCount) = (0, 0)
            }
            tookLength(1, exchange: &exchange, streams: streams, events: &events)
        case .block:
            guard clock.tick(now: now) else { return events.fail(.hugeHead) }
            guard exchange.budget.take(now: now) else { return events.fail(.manyHeads) }
            readBlock(
                byte, scratch: scratch, entries: entries, exchange: &exchange,
                events: &events, tables: tables)
            tookLength(1, exchange: &exchange, streams: streams, events: &events)
        case .content, .padding, .ignored: events.fail(.malformed)
        }
    }

    // MARK: - Frame headers (section 4.1)

    private mutating func beginHeader() {
        state = .header
        (gathered, gatheredCount) = (0, 0)
        (padding, prefixCount) = (0, 0)
        hasContent = false
    }

    private mutating func readHeader(
        _ byte: UInt8, exchange: inout HTTP2Exchange, streams: ByteRegion,
        events: inout ScanEvents, now: UInt64
    ) {
        gathered = gathered &<< 8 | UInt64(byte)
        gatheredCount &+= 1
        if gatheredCount == 5 {
            length = UInt32(truncatingIfNeeded: gathered &>> 16)
            type = UInt8(truncatingIfNeeded: gathered &>> 8)
            flags = UInt8(truncatingIfNeeded: gathered)
            gathered = 0
        }
        guard gatheredCount == 9 else { return }
        stream = UInt32(truncatingIfNeeded: gathered) & 0x7FFF_FFFF
        (gathered, gatheredCount) = (0, 0)
        guard isHeaderSound else { return events.fail(.malformed) }
        hasSettings = true
        guard exchange.budget.take(now: now) else { return events.fail(.manyHeads) }
        // Empty CONTINUATION frames are bounded, too.
        if blockStream != 0, !clock.tick(now: now) { return events.fail(.hugeHead) }
        begin(exchange: &exchange, streams: streams, events: &events)
    }

    private var isHeaderSound: Bool {
        guard length <= frameBytesMax else { return false }
        // Section 3.4: SETTINGS come first. Section 6.10: nothing comes between a block's frames.
        guard hasSettings || type == FrameType.settings && flags & Flag.acknowledgement == 0
        else { return false }
        guard (blockStream != 0) == (type == FrameType.continuation) else { return false }
        switch type {
        case FrameType.data: return stream != 0
        case FrameType.headers: return stream & 1 == 1 || !isClient && stream != 0
        case FrameType.priority: return stream != 0 && length == 5
        case FrameType.reset: return stream != 0 && length == 4
        case FrameType.settings:
            return stream == 0 && length % 6 == 0
                && (flags & Flag.acknowledgement == 0 || length == 0)
        case FrameType.pushPromise: return stream & 1 == 1 && !isClient
        case FrameType.ping: return stream == 0 && length == 8
        case FrameType.goAway: return stream == 0 && length >= 8
        case FrameType.windowUpdate: return length == 4
        case FrameType.continuation: return stream == blockStream
        default: return true
        }
    }

    private mutating func begin(
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents
    ) {
        switch type {
        case FrameType.headers:
            prefixCount = flags & Flag.priority != 0 ? 5 : 0
            blockIsPromise = false
            blockEndsStream = flags & Flag.endStream != 0
            beginBlock(exchange: &exchange)
            if isClient, stream > lastStream {
                lastStream = stream
                events.requestStarted()
                HTTP2Stream.open(stream, in: streams)
            }
        case FrameType.pushPromise:
            prefixCount = 4
            blockIsPromise = true
            blockEndsStream = false
            beginBlock(exchange: &exchange)
        default: break
        }
        let isPadded = type == FrameType.data || prefixCount > 0 || type == FrameType.headers
        if isPadded, flags & Flag.padded != 0 {
            guard length > UInt32(prefixCount) else { return events.fail(.malformed) }
            state = .padLength
        } else {
            guard length >= UInt32(prefixCount) else { return events.fail(.malformed) }
            enterPayload(exchange: &exchange, streams: streams, events: &events)
        }
    }

    private mutating func beginBlock(exchange: inout HTTP2Exchange) {
        clock = HeadClock()
        hpack.beginBlock()
        blockIsHead = false
        if isClient { exchange.request = .init() } else { exchange.response = .init() }
    }

    private mutating func enterPayload(
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents
    ) {
        if prefixCount > 0 {
            state = .prefix
            return
        }
        switch type {
        case FrameType.data: state = .content
        case FrameType.headers, FrameType.pushPromise, FrameType.continuation: state = .block
        case FrameType.settings: state = .settings
        default: state = .ignored
        }
        tookLength(0, exchange: &exchange, streams: streams, events: &events)
    }

    /// Goes on to the padding and to the next frame when their time has come.
    private mutating func tookLength(
        _ count: Int, exchange: inout HTTP2Exchange, streams: ByteRegion,
        events: inout ScanEvents
    ) {
        guard events.reason == .none else { return }
        length &-= UInt32(truncatingIfNeeded: count)
        if length == padding, padding > 0 { state = .padding }
        if length == 0 {
            frameEnded(exchange: &exchange, streams: streams, events: &events)
            beginHeader()
        }
    }

    private mutating func frameEnded(
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents
    ) {
        switch type {
        case FrameType.data:
            if flags & Flag.endStream != 0 { streamEnded(streams: streams, events: &events) }
        case FrameType.headers, FrameType.pushPromise, FrameType.continuation:
            guard flags & Flag.endHeaders != 0 else {
                blockStream = stream
                return
            }
            blockStream = 0
            clock = HeadClock()
            guard hpack.isBetweenFields else { return events.fail(.malformed) }
            if !blockIsPromise {
                blockEnded(exchange: &exchange, streams: streams, events: &events)
            }
        case FrameType.reset:
            if let slot = HTTP2Stream.find(stream, in: streams) {
                if slot.has(.answered) { events.responseEnded() }
                slot.close()
            }
        default: break
        }
    }

    // MARK: - Settings (section 6.5.2)

    private func note(setting: UInt64, exchange: inout HTTP2Exchange) {
        let value = UInt32(truncatingIfNeeded: setting)
        var limits = HTTP2Limits()
        switch setting &>> 32 {
        case 1: limits.tableSize = value
        case 5: limits.frameBytesMax = min(value, 0xFF_FFFF)
        default: return
        }
        exchange.allow(limits, to: isClient ? .server : .client)
    }

    // MARK: - Heads (section 8.3)

    private mutating func readBlock(
        _ byte: UInt8, scratch: ByteRegion, entries: ByteRegion,
        exchange: inout HTTP2Exchange, events: inout ScanEvents,
        tables: borrowing ProtocolTables
    ) {
        switch hpack.read(byte, scratch: scratch, entries: entries, tables: tables) {
        case .more: break
        case .failed: events.fail(.malformed)
        case .forgotten: events.fail(.tooMany)
        case .field(let field, let meaning):
            guard !blockIsPromise else { return }
            switch field {
            // Section 8.2.2: HTTP/2 has no transfer codings; gateways to HTTP/1.1 get confused.
            case .transferEncoding: events.fail(.ambiguous)
            case .contentLength where meaning == nil: events.fail(.ambiguous)
            case .method where isClient: blockIsHead = true
            case .status where !isClient: blockIsHead = meaning != nil
            default: break
            }
            if isClient {
                exchange.request.note(field, meaning)
            } else {
                exchange.response.note(field, meaning)
            }
        }
    }

    private mutating func blockEnded(
        exchange: inout HTTP2Exchange, streams: ByteRegion, events: inout ScanEvents
    ) {
        // Without pseudo-header fields they are trailers.
        if isClient, blockIsHead {
            events.requestHeaders(exchange.request)
        } else if blockIsHead, exchange.response.status < 200 {
            events.kinds.insert(.interimResponse)
        } else if blockIsHead, stream & 1 == 1 {
            events.responseHeaders(exchange.response)
            if let slot = HTTP2Stream.find(stream, in: streams) {
                slot.insert(.answered)
                if exchange.response.isStreaming { slot.insert(.streams) }
                if exchange.response.contentType == .grpc { slot.insert(.grpc) }
            }
        }
        if blockEndsStream { streamEnded(streams: streams, events: &events) }
    }

    private func streamEnded(streams: ByteRegion, events: inout ScanEvents) {
        if isClient {
            if stream & 1 == 1, stream <= lastStream { events.requestEnded() }
        } else if let slot = HTTP2Stream.find(stream, in: streams) {
            if slot.has(.answered) { events.responseEnded() }
            slot.close()
        }
    }

    // MARK: - Content

    private mutating func tookContent(
        _ bytes: ByteRegion, _ count: Int, streams: ByteRegion, events: inout ScanEvents,
        readsUsage: Bool, tables: borrowing ProtocolTables
    ) {
        let isFirst = !hasContent
        noteBody(count, events: &events)
        guard !isClient else { return }
        let slot = HTTP2Stream.find(stream, in: streams)
        if let slot, slot.has(.grpc) {
            events.responseChunks &+= slot.readMessages(bytes)
        } else if isFirst {
            events.responseChunks &+= 1
        }
        if readsUsage, let slot {
            events.count(tokens: slot.readUsage(bytes, vocabulary: tables.vocabulary))
        }
    }

    private mutating func noteBody(_ count: Int, events: inout ScanEvents) {
        hasContent = true
        if isClient {
            events.requestBodyBytes &+= UInt32(truncatingIfNeeded: count)
        } else {
            events.kinds.insert(.responseChunk)
            events.responseBodyBytes &+= UInt32(truncatingIfNeeded: count)
        }
    }
}

/// What SETTINGS of one side allow the other.
struct HTTP2Limits {
    var tableSize: UInt32?
    var frameBytesMax: UInt32?
}

/// What the two directions of an HTTP/2 connection know of each other.
struct HTTP2Exchange {
    var request = RequestSummary()
    var response = ResponseSummary()
    var budget = HeadBudget()
    private var forClient = HTTP2Limits()
    private var forServer = HTTP2Limits()

    mutating func allow(_ limits: HTTP2Limits, to side: StreamSide) {
        if let size = limits.tableSize {
            if side == .client { forClient.tableSize = size } else { forServer.tableSize = size }
        }
        if let size = limits.frameBytesMax {
            if side == .client {
                forClient.frameBytesMax = size
            } else {
                forServer.frameBytesMax = size
            }
        }
    }

    /// What SETTINGS said since the last call.
    mutating func takeLimits(for side: StreamSide) -> HTTP2Limits {
        let limits = side == .client ? forClient : forServer
        if side == .client { forClient = .init() } else { forServer = .init() }
        return limits
    }
}

extension UInt8 {
    /// The preface is upper case apart from its line ends; the vocabulary is lower case.
    fileprivate var uppercased: UInt8 {
        self &- 0x61 < 26 ? self & ~0x20 : self
    }
}
