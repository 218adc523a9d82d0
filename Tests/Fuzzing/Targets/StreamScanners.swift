import InferenceTraffic
import PacketMemory

/// Pieces of TCP streams, in any order, on their way through the scanners.
///
/// Claims: nothing traps; what is in order is told the same in one piece and byte by byte; events
/// are balanced; a scanner that has given up is gone.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzStreamScanners(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    let choice = input.byte()
    let pieces = readPieces(&input, isOrdered: choice & 1 == 0)
    let whole = scan(pieces, isCut: false, choice)
    if choice & 1 == 0 {
        let cut = scan(pieces, isCut: true, choice)
        claim(whole == cut, "cut in bytes it is told otherwise: \(whole), \(cut)")
    }
    return 0
}

/// One for all inputs: what a connection leaves behind shows in the next one.
nonisolated(unsafe) private var pool = ScannerPool(capacity: 2, tunnels: 2)

private struct Piece {
    var side: StreamSide
    var offset: Int
    var bytes: [UInt8]
    var delay: UInt64
}

/// A byte of flags, a length, for unordered ones an offset, and the bytes.
private func readPieces(_ input: inout FuzzInput, isOrdered: Bool) -> [Piece] {
    var pieces: [Piece] = []
    var next = [0, 0]
    while !input.isAtEnd, pieces.count < pieceCountMax {
        let flags = input.byte()
        let side = Int(flags & 1)
        var offset = next[side]
        if !isOrdered, flags & 2 != 0 { offset += Int(Int8(bitPattern: input.byte())) }
        let count = flags & 4 == 0 ? Int(input.byte()) : input.uint16() % 2000
        let bytes = input.take(count)
        guard !bytes.isEmpty else { continue }
        pieces.append(
            Piece(
                side: side == 0 ? .client : .server, offset: offset, bytes: bytes,
                delay: flags & 0xF0 == 0xF0 ? 6_000_000_000 : 0))
        next[side] = max(next[side], offset + bytes.count)
    }
    return pieces
}

/// What no cut may change.
private struct Totals: Equatable {
    var started = 0, ended = 0, answered = 0, finished = 0
    var requestBytes = 0, responseBytes = 0
    var tokens = 0
    var open = 0, streaming = 0
    var proto = StreamProtocol.unknown
    var reason = GiveUpReason.none
    var request: RequestSummary?
    var response: ResponseSummary?
}

private func scan(_ pieces: [Piece], isCut: Bool, _ choice: UInt8) -> Totals {
    let handle = pool.open(tunnel: 0, now: 0)
    let sequences: [UInt32] = [0xFFFF_FFF0, 100]
    pool.begin(handle, .client, sequence: sequences[0])
    pool.begin(handle, .server, sequence: sequences[1])
    var totals = Totals()
    var now: UInt64 = 1
    for piece in pieces {
        now += piece.delay
        let arena = ByteArena(count: piece.bytes.count)
        arena.whole.write(piece.bytes)
        let step = isCut ? 1 : piece.bytes.count
        for start in stride(from: 0, to: piece.bytes.count, by: step) {
            let base = sequences[piece.side == .client ? 0 : 1]
            let events = pool.feed(
                handle, arena.whole.region(at: start, count: step),
                sequence: base &+ UInt32(truncatingIfNeeded: piece.offset + start),
                from: piece.side, readsUsage: choice & 2 != 0, now: now)
            if totals.reason != .none {
                claim(events.reason == .recycled, "it reads on after it gave up")
                continue
            }
            note(events, &totals)
        }
        claim(arena.whole.bytes == piece.bytes, "reading changed the bytes")
    }
    if totals.reason == .none { note(pool.end(handle, .server), &totals) }
    claim(pool.count(of: 0) == (totals.reason == .none ? 1 : 0), "the context is lost")
    pool.close(handle)
    claim(pool.count(of: 0) == 0, "the context was not given back")
    return totals
}

private func note(_ events: ScanEvents, _ totals: inout Totals) {
    claim(
        events.kinds.contains(.gaveUp) == (events.reason != .none), "it gave up without a reason")
    totals.started += Int(events.requestsStarted)
    totals.ended += Int(events.requestsEnded)
    totals.answered += Int(events.responsesStarted)
    totals.finished += Int(events.responsesEnded)
    totals.requestBytes += Int(events.requestBodyBytes)
    totals.responseBytes += Int(events.responseBodyBytes)
    totals.tokens += Int(events.tokens)
    (totals.open, totals.streaming) = (Int(events.openRequests), Int(events.tokenStreams))
    (totals.proto, totals.reason) = (events.protocol, events.reason)
    if events.kinds.contains(.requestHeaders) { totals.request = events.request }
    if events.kinds.contains(.responseHeaders) { totals.response = events.response }
    claim(totals.streaming <= totals.open, "more answers stream than there are requests")
    claim(totals.finished <= totals.answered, "more answers end than begin")
}

private let pieceCountMax = 64
