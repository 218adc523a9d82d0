import PacketMemory

/// One direction of a TLS connection: record boundaries, and the first handshake message.
///
/// Source: RFC 8446, sections 4.1 and 5.1; RFC 5246, section 6.2.
struct TLSRecords {
    private enum State: UInt8 {
        case header, handshake, skipped
    }

    private enum ContentType {
        static let handshake: UInt8 = 22
        static let applicationData: UInt8 = 23
    }

    let isClient: Bool
    private var state = State.header
    private var gathered: UInt64 = 0
    private var gatheredCount: UInt8 = 0
    private var remaining: UInt32 = 0
    private var hello: HelloReader
    private var clock = HeadClock()

    init(isClient: Bool) {
        self.isClient = isClient
        hello = HelloReader(isClient: isClient)
    }

    var skippable: UInt64 { state == .skipped ? UInt64(remaining) : 0 }

    func isLate(now: UInt64) -> Bool { clock.isLate(now: now) }

    mutating func read(
        _ bytes: ByteRegion, exchange: inout TLSExchange, events: inout ScanEvents, now: UInt64,
        vocabulary: borrowing Vocabulary
    ) {
        var offset = 0
        while offset < bytes.count, events.reason == .none {
            if state == .skipped {
                let count = min(Int(remaining), bytes.count &- offset)
                skip(UInt64(count))
                offset &+= count
                continue
            }
            let byte = bytes[offset]
            offset &+= 1
            if state == .header {
                readHeader(byte, exchange: &exchange, events: &events)
            } else {
                readHandshake(
                    byte, exchange: &exchange, events: &events, now: now,
                    vocabulary: vocabulary)
            }
        }
    }

    /// - Parameter count: At most ``skippable``.
    mutating func skip(_ count: UInt64) {
        remaining &-= UInt32(truncatingIfNeeded: count)
        if remaining == 0 { state = .header }
    }

    private mutating func readHeader(
        _ byte: UInt8, exchange: inout TLSExchange, events: inout ScanEvents
    ) {
        gathered = gathered &<< 8 | UInt64(byte)
        gatheredCount &+= 1
        guard gatheredCount == 5 else { return }
        let type = UInt8(truncatingIfNeeded: gathered &>> 32)
        let version = UInt16(truncatingIfNeeded: gathered &>> 16)
        let length = UInt16(truncatingIfNeeded: gathered)
        (gathered, gatheredCount) = (0, 0)
        // TLS 1.2 lets a record grow by 2,048 (RFC 5246, section 6.2.3); only application data
        // may be empty (RFC 8446, section 5.1).
        guard type >= 20, type <= 24, version >> 8 == 3, version & 0xFF <= 4,
            length <= 16_384 + 2048, length > 0 || type == ContentType.applicationData
        else { return events.fail(.malformed) }
        remaining = UInt32(length)
        state = length == 0 ? .header : .skipped
        if type == ContentType.handshake, !hello.isDone, !exchange.isMidway {
            state = .handshake
        } else if isClient, !hello.isDone, !exchange.isMidway {
            return events.fail(.malformed)
        }
        if type == ContentType.applicationData,
            exchange.isApplication(from: isClient ? .client : .server)
        {
            events.record(byteCount: length)
        }
    }

    private mutating func readHandshake(
        _ byte: UInt8, exchange: inout TLSExchange, events: inout ScanEvents, now: UInt64,
        vocabulary: borrowing Vocabulary
    ) {
        guard clock.tick(now: now) else { return events.fail(.hugeHead) }
        remaining &-= 1
        switch hello.read(byte, vocabulary: vocabulary) {
        case .more: break
        case .failed: return events.fail(.malformed)
        case .done:
            clock = HeadClock()
            if isClient {
                events.kinds.insert(.hello)
                events.hello = hello.summary
            } else {
                exchange.isVersion13 = hello.isVersion13
            }
            state = .skipped
        }
        if remaining == 0 { state = .header }
    }
}

/// What the two directions of a TLS connection know of each other.
struct TLSExchange {
    /// The connection's beginning was not seen.
    var isMidway = false
    var isVersion13 = false
    private var hasFinished = false

    /// Whether a record of application data is what it says.
    ///
    /// TLS 1.3 encrypts its handshake in such records (RFC 8446, section 5.2): all of the server's
    /// before the client's first, which carries the client's Finished.
    mutating func isApplication(from side: StreamSide) -> Bool {
        guard isVersion13, !hasFinished else { return true }
        if side == .client { hasFinished = true }
        return false
    }
}
