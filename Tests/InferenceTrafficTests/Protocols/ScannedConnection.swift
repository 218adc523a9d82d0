import PacketMemory
import TestSupport

@testable import InferenceTraffic

/// A connection whose bytes go through a scanner of its own, and what it told in all.
struct ScannedConnection: ~Copyable {
    var pool = ScannerPool(capacity: 2, tunnels: 2)
    var handle: ScannerHandle
    var next: [StreamSide: UInt32] = [.client: 0xFFFF_FFF0, .server: 7]
    var now: UInt64 = 1_000_000_000
    var readsUsage = false
    var total = Totals()

    /// What no cut of the stream may change.
    struct Totals: Equatable {
        var requests: [RequestSummary] = []
        var responses: [ResponseSummary] = []
        var started = 0
        var ended = 0
        var answered = 0
        var finished = 0
        var requestBytes = 0
        var responseBytes = 0
        var interim = 0
        var tokens = 0
        var proto = StreamProtocol.unknown
        var reason = GiveUpReason.none
        var open = 0
        var streaming = 0
    }

    init() {
        handle = pool.open(tunnel: 0, now: 0)
        for (side, sequence) in next { pool.begin(handle, side, sequence: sequence) }
    }

    deinit {}

    @discardableResult
    mutating func send(
        _ side: StreamSide, _ bytes: [UInt8], at offset: Int = 0
    ) -> ScanEvents {
        let sequence = next[side]! &+ UInt32(truncatingIfNeeded: offset)
        let arena = ByteArena(bytes)
        let events = pool.feed(
            handle, arena.whole.prefix(bytes.count), sequence: sequence, from: side,
            readsUsage: readsUsage, now: now)
        withExtendedLifetime(arena) {}
        if offset == 0 { next[side]! &+= UInt32(bytes.count) }
        note(events)
        return events
    }

    @discardableResult
    mutating func client(_ text: String) -> ScanEvents { send(.client, Array(text.utf8)) }
    @discardableResult
    mutating func server(_ text: String) -> ScanEvents { send(.server, Array(text.utf8)) }

    private mutating func note(_ events: ScanEvents) {
        // Behind the end nothing is read; that the handle is stale is no news.
        guard total.reason == .none else { return }
        if events.kinds.contains(.requestHeaders) { total.requests.append(events.request) }
        if events.kinds.contains(.responseHeaders) { total.responses.append(events.response) }
        if events.kinds.contains(.interimResponse) { total.interim += 1 }
        total.started += Int(events.requestsStarted)
        total.ended += Int(events.requestsEnded)
        total.answered += Int(events.responsesStarted)
        total.finished += Int(events.responsesEnded)
        total.requestBytes += Int(events.requestBodyBytes)
        total.responseBytes += Int(events.responseBodyBytes)
        total.tokens += Int(events.tokens)
        total.proto = events.protocol
        total.reason = events.reason
        (total.open, total.streaming) = (Int(events.openRequests), Int(events.tokenStreams))
    }
}

/// What one side sends at a time, for conversations that are cut in many ways.
struct Turn {
    var side: StreamSide
    var bytes: [UInt8]

    static func client(_ text: String) -> Turn { Turn(side: .client, bytes: Array(text.utf8)) }
    static func server(_ text: String) -> Turn { Turn(side: .server, bytes: Array(text.utf8)) }
    static func client(_ bytes: [UInt8]) -> Turn { Turn(side: .client, bytes: bytes) }
    static func server(_ bytes: [UInt8]) -> Turn { Turn(side: .server, bytes: bytes) }
}

/// The conversation with each turn in pieces of one byte.
func scanByteByByte(_ turns: [Turn], readsUsage: Bool = false) -> ScannedConnection.Totals {
    var connection = ScannedConnection()
    connection.readsUsage = readsUsage
    for turn in turns {
        for byte in turn.bytes { connection.send(turn.side, [byte]) }
    }
    return connection.total
}

/// HTTP/2 as a plain encoder would write it: no Huffman code, no dynamic table unless asked for.
enum HTTP2Writer {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    static func frame(
        _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []
    ) -> [UInt8] {
        let count = payload.count
        let header = [
            UInt8(count >> 16 & 0xFF), UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF), type, flags,
        ]
        let number = (0..<4).map { UInt8(truncatingIfNeeded: stream >> UInt32(24 - 8 * $0)) }
        return header + number + payload
    }

    static func settings(_ pairs: [(UInt16, UInt32)] = []) -> [UInt8] {
        frame(
            4,
            pairs.flatMap { id, value in
                [UInt8(id >> 8), UInt8(id & 0xFF)]
                    + (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) }
            })
    }

    /// Literal fields with new names; with `indexing` they enter the dynamic table.
    static func block(_ fields: [(String, String)], indexing: Bool = false) -> [UInt8] {
        fields.flatMap { name, value in
            [indexing ? 0x40 : 0x00] + string(name) + string(value)
        }
    }

    private static func string(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
        var (rest, length) = (bytes.count - 127, [UInt8(127)])
        while rest >= 128 {
            length.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return length + [UInt8(rest)] + bytes
    }

    static func headers(
        _ stream: UInt32, _ fields: [(String, String)], ends: Bool = false
    ) -> [UInt8] {
        frame(1, flags: ends ? 0x5 : 0x4, stream: stream, block(fields))
    }

    static func data(_ stream: UInt32, _ bytes: [UInt8], ends: Bool = false) -> [UInt8] {
        frame(0, flags: ends ? 1 : 0, stream: stream, bytes)
    }

    static let chat = [
        (":method", "POST"), (":scheme", "http"), (":path", "/v1/chat/completions"),
        (":authority", "x"), ("content-type", "application/json"),
    ]
    static let events = [(":status", "200"), ("content-type", "text/event-stream")]
}
