import PacketMemory

/// Memory that a scanner is lent by its pool.
struct ScannerMemory {
    /// ``Scratch/byteCount`` bytes for each side.
    var clientScratch: ByteRegion
    var serverScratch: ByteRegion
    /// ``HTTP2Stream/byteCount`` bytes, zero at first.
    var streams: ByteRegion
    /// ``HPACKDynamicTable/byteCount`` bytes for each side; before the protocol is known, the first
    /// bytes lie here.
    var clientEntries: ByteRegion
    var serverEntries: ByteRegion
}

/// Reads both directions of one TCP connection: finds out its protocol, keeps their bytes in order
/// and has them read.
struct StreamScanner {
    private struct Side {
        /// Sequence number of the next byte.
        var next: UInt32 = 0
        var isSynchronised = false
        var hold = HoldBuffers.Ticket.none
        /// First bytes, while the protocol is unknown.
        var firstCount: UInt8 = 0
        var http1: HTTP1Message
        var http2: HTTP2Frames

        init(isClient: Bool) {
            http1 = HTTP1Message(isRequest: isClient)
            http2 = HTTP2Frames(isClient: isClient)
        }
    }

    private(set) var `protocol` = StreamProtocol.unknown
    private var client = Side(isClient: true)
    private var server = Side(isClient: false)
    private var http1 = HTTP1Exchange()
    private var http2 = HTTP2Exchange()
    private var detectionClock = HeadClock()

    /// What one call lends.
    struct Surroundings {
        let memory: ScannerMemory
        let tunnel: Int
        let readsUsage: Bool
        let now: UInt64
    }

    mutating func begin(_ side: StreamSide, sequence: UInt32) {
        switch side {
        case .client: (client.next, client.isSynchronised) = (sequence, true)
        case .server: (server.next, server.isSynchronised) = (sequence, true)
        }
    }

    // MARK: - Order

    mutating func feed(
        _ bytes: ByteRegion, sequence: UInt32, from side: StreamSide,
        in surroundings: Surroundings, holds: inout HoldBuffers,
        tables: borrowing ProtocolTables
    ) -> ScanEvents {
        var events = ScanEvents()
        if isLate(now: surroundings.now) {
            events.fail(.slowHead)
        } else if side == .client ? !client.isSynchronised : !server.isSynchronised {
            begin(side, sequence: sequence)
        }
        if events.reason == .none {
            place(
                bytes, sequence: sequence, from: side, in: surroundings, holds: &holds,
                events: &events, tables: tables)
        }
        report(in: surroundings.memory, &events)
        return events
    }

    private mutating func place(
        _ bytes: ByteRegion, sequence: UInt32, from side: StreamSide,
        in surroundings: Surroundings, holds: inout HoldBuffers,
        events: inout ScanEvents, tables: borrowing ProtocolTables
    ) {
        let next = side == .client ? client.next : server.next
        let distance = Int(Int32(bitPattern: sequence &- next))
        if distance > 0 {
            events.kinds.insert(.gap)
            let skippable = skippable(side)
            guard distance <= Self.gapBytesMax, UInt64(distance) <= skippable else {
                return hold(
                    bytes, sequence: sequence, from: side, in: surroundings, holds: &holds,
                    events: &events)
            }
            skip(UInt64(distance), side, in: surroundings, events: &events)
            advance(side, by: distance)
        }
        let seen = max(-distance, 0)
        guard seen < bytes.count else {
            events.kinds.insert(.retransmission)
            return
        }
        take(
            bytes.region(from: seen), from: side, in: surroundings, events: &events,
            tables: tables)
        releaseHeld(
            side, in: surroundings, holds: &holds, events: &events, tables: tables)
    }

    /// Keeps bytes until those before them come.
    private mutating func hold(
        _ bytes: ByteRegion, sequence: UInt32, from side: StreamSide,
        in surroundings: Surroundings, holds: inout HoldBuffers, events: inout ScanEvents
    ) {
        let old = side == .client ? client.hold : server.hold
        guard
            let ticket = holds.keep(
                bytes, sequence: sequence, ticket: old, tunnel: surroundings.tunnel,
                now: surroundings.now)
        else { return events.fail(.gap) }
        if side == .client { client.hold = ticket } else { server.hold = ticket }
    }

    private mutating func releaseHeld(
        _ side: StreamSide, in surroundings: Surroundings, holds: inout HoldBuffers,
        events: inout ScanEvents, tables: borrowing ProtocolTables
    ) {
        let ticket = side == .client ? client.hold : server.hold
        guard !ticket.isNone, events.reason == .none else { return }
        guard let held = holds.held(ticket) else { return events.fail(.gap) }
        let next = side == .client ? client.next : server.next
        let seen = Int(Int32(bitPattern: next &- held.sequence))
        guard seen >= 0 else { return }
        if side == .client { client.hold = .none } else { server.hold = .none }
        if seen < held.bytes.count {
            take(
                held.bytes.region(from: seen), from: side, in: surroundings, events: &events,
                tables: tables)
        }
        holds.release(ticket)
    }

    /// Gives back what the connection holds outside of itself.
    func close(holds: inout HoldBuffers) {
        holds.release(client.hold)
        holds.release(server.hold)
    }

    private mutating func advance(_ side: StreamSide, by count: Int) {
        let count = UInt32(truncatingIfNeeded: count)
        if side == .client { client.next &+= count } else { server.next &+= count }
    }

    private mutating func take(
        _ bytes: ByteRegion, from side: StreamSide, in surroundings: Surroundings,
        events: inout ScanEvents, tables: borrowing ProtocolTables
    ) {
        advance(side, by: bytes.count)
        if `protocol` == .unknown {
            detect(bytes, from: side, in: surroundings, events: &events, tables: tables)
        } else {
            read(bytes, from: side, in: surroundings, events: &events, tables: tables)
        }
    }

    // MARK: - Protocols

    private mutating func detect(
        _ bytes: ByteRegion, from side: StreamSide, in surroundings: Surroundings,
        events: inout ScanEvents, tables: borrowing ProtocolTables
    ) {
        let memory = surroundings.memory
        let first = side == .client ? memory.clientEntries : memory.serverEntries
        var count = Int(side == .client ? client.firstCount : server.firstCount)
        for offset in 0..<bytes.count {
            first[count] = bytes[offset]
            count &+= 1
            _ = detectionClock.tick(now: surroundings.now)
            switch FirstBytes.decide(first.prefix(count), side, tables.vocabulary) {
            case .undecided: continue
            case .unknown: return events.fail(.unknownProtocol)
            case .is(let known):
                `protocol` = known
                detectionClock = HeadClock()
                events.kinds.insert(.protocolKnown)
                if known == .ssh || known == .tls { return events.fail(.finished) }
                read(
                    first.prefix(count), from: side, in: surroundings, events: &events,
                    tables: tables)
                let rest = bytes.region(from: offset &+ 1)
                return read(
                    rest, from: side, in: surroundings, events: &events, tables: tables)
            }
        }
        let kept = UInt8(truncatingIfNeeded: count)
        if side == .client { client.firstCount = kept } else { server.firstCount = kept }
    }

    private mutating func read(
        _ bytes: ByteRegion, from side: StreamSide, in surroundings: Surroundings,
        events: inout ScanEvents, tables: borrowing ProtocolTables
    ) {
        guard events.reason == .none else { return }
        let (memory, now) = (surroundings.memory, surroundings.now)
        let readsUsage = surroundings.readsUsage
        switch (`protocol`, side) {
        case (.http1, .client):
            client.http1.read(
                bytes, scratch: memory.clientScratch, exchange: &http1, events: &events,
                readsUsage: readsUsage, now: now, vocabulary: tables.vocabulary)
        case (.http1, .server):
            server.http1.read(
                bytes, scratch: memory.serverScratch, exchange: &http1, events: &events,
                readsUsage: readsUsage, now: now, vocabulary: tables.vocabulary)
        case (.http2, .client):
            client.http2.allow(http2.takeLimits(for: side))
            client.http2.read(
                bytes, scratch: memory.clientScratch, entries: memory.clientEntries,
                exchange: &http2, streams: memory.streams, events: &events,
                readsUsage: readsUsage, now: now, tables: tables)
        case (.http2, .server):
            server.http2.allow(http2.takeLimits(for: side))
            server.http2.read(
                bytes, scratch: memory.serverScratch, entries: memory.serverEntries,
                exchange: &http2, streams: memory.streams, events: &events,
                readsUsage: readsUsage, now: now, tables: tables)
        case (.unknown, _), (.tls, _), (.ssh, _): events.fail(.unknownProtocol)
        }
    }

    private func skippable(_ side: StreamSide) -> UInt64 {
        switch (`protocol`, side) {
        case (.http1, .client): client.http1.skippable
        case (.http1, .server): server.http1.skippable
        case (.http2, .client): client.http2.skippable
        case (.http2, .server): server.http2.skippable
        case (.unknown, _), (.tls, _), (.ssh, _): 0
        }
    }

    private mutating func skip(
        _ count: UInt64, _ side: StreamSide, in surroundings: Surroundings,
        events: inout ScanEvents
    ) {
        let streams = surroundings.memory.streams
        switch (`protocol`, side) {
        case (.http1, .client):
            client.http1.skip(count, exchange: &http1, events: &events)
        case (.http1, .server):
            server.http1.skip(count, exchange: &http1, events: &events)
        case (.http2, .client):
            client.http2.skip(count, exchange: &http2, streams: streams, events: &events)
        case (.http2, .server):
            server.http2.skip(count, exchange: &http2, streams: streams, events: &events)
        case (.unknown, _), (.tls, _), (.ssh, _): break
        }
    }

    /// A side's last byte was fed.
    mutating func end(_ side: StreamSide, memory: ScannerMemory) -> ScanEvents {
        var events = ScanEvents()
        if `protocol` == .http1 {
            if side == .client {
                client.http1.end(exchange: &http1, events: &events)
            } else {
                server.http1.end(exchange: &http1, events: &events)
            }
        }
        report(in: memory, &events)
        return events
    }

    private func isLate(now: UInt64) -> Bool {
        switch `protocol` {
        case .unknown: detectionClock.isLate(now: now)
        case .http1: client.http1.isLate(now: now) || server.http1.isLate(now: now)
        case .http2: client.http2.isLate(now: now) || server.http2.isLate(now: now)
        case .tls, .ssh: false
        }
    }

    private func report(in memory: ScannerMemory, _ events: inout ScanEvents) {
        events.protocol = `protocol`
        switch `protocol` {
        case .http1:
            events.openRequests = UInt16(http1.pending)
            events.tokenStreams = http1.isStreaming ? 1 : 0
        case .http2:
            let counts = HTTP2Stream.counts(in: memory.streams)
            (events.openRequests, events.tokenStreams) = counts
        case .unknown, .tls, .ssh: break
        }
    }

    /// More than any window that is in use lies between bytes of one stream only by forgery.
    private static var gapBytesMax: Int { 64 << 20 }
}
