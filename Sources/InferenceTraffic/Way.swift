import PacketFormats

/// One direction of a flow: where its stream of bytes is, and how it sends.
struct Way {
    /// The sequence number after the last that was seen.
    var next: UInt32 = 0
    /// The sequence number of the first byte, if a SYN told it.
    var first: UInt32 = 0
    var isBegun = false
    /// The oldest bytes that are missing before `next`, as far as is known: empty if equal.
    private var holeStart: UInt32 = 0
    private var holeEnd: UInt32 = 0
    private var holeNanoseconds: UInt64 = 0
    /// When payload came last; 0: never.
    var payloadNanoseconds: UInt64 = 0
    /// Payload, each byte once.
    var bytes: UInt64 = 0
    /// What was sent since the request, the answer or the burst began: payload, that which was sent
    /// again included, and headers longer than they need be.
    var burst: UInt32 = 0
    /// What was sent ahead of the rate of tokens, and when that was counted.
    private var aheadBytes: UInt32 = 0
    private var retransmitted: UInt32 = 0
    private var aheadNanoseconds: UInt64 = 0
    private var beginningNanoseconds: UInt64 = 0
    private var beginnings = FlowLimits.beginningsMax
    /// Whether `next` means anything.
    var isKnown = false
    var isClosed = false
    /// Faster than tokens are, until it has been slow for a while.
    private(set) var isFast = false
    var trafficClass = TrafficClass.token
    var evidence = FlowEvidence.beginning
    var confidence: UInt8 = 0

    var retransmissions: UInt32 { retransmitted }
}

/// What a segment brought.
struct Arrival {
    /// Payload bytes that had not been seen.
    var newByteCount = 0
    var isRetransmission = false
    /// It continues nothing that was known.
    var isJump = false
}

extension Way {
    /// Places payload in the stream.
    ///
    /// What is missing may come later: soon, if packets overtook each other, or as a
    /// retransmission. One hole is remembered.
    ///
    /// Source: RFC 9293, section 3.4 (sequence numbers compare modulo 2^32).
    mutating func accept(_ sequence: UInt32, count: Int, now: UInt64) -> Arrival {
        let length = Int32(truncatingIfNeeded: count)
        let end = sequence &+ UInt32(bitPattern: length)
        guard isKnown else {
            isKnown = true
            next = end
            return Arrival(newByteCount: count)
        }
        let distance = Int32(bitPattern: sequence &- next)
        if distance == 0 {
            next = end
            return Arrival(newByteCount: count)
        }
        guard distance < FlowLimits.sequenceJump, distance > -FlowLimits.sequenceJump else {
            next = end
            holeEnd = holeStart
            return Arrival(newByteCount: count, isJump: true)
        }
        if distance > 0 {
            if holeStart == holeEnd || now &- holeNanoseconds > FlowLimits.second {
                holeStart = next
                holeNanoseconds = now
            }
            holeEnd = sequence
            next = end
            return Arrival(newByteCount: count)
        }
        if distance &+ length > 0 {
            next = end
            return Arrival(newByteCount: Int(distance &+ length))
        }
        return acceptOld(sequence, length, distance, now)
    }

    /// All of it lies before `next`.
    private mutating func acceptOld(
        _ sequence: UInt32, _ length: Int32, _ distance: Int32, _ now: UInt64
    ) -> Arrival {
        // Keep-alives and probes of a closed window repeat a byte (RFC 9293, sections 3.8.4 and
        // 3.8.6.1).
        if distance == -1, length <= 1 { return Arrival() }
        let intoHole = Int32(bitPattern: sequence &- holeStart)
        let beforeEnd = Int32(bitPattern: holeEnd &- sequence)
        guard holeStart != holeEnd, intoHole >= 0, beforeEnd > 0 else {
            retransmitted &+= 1
            return Arrival(isRetransmission: true)
        }
        if intoHole == 0 {
            holeStart = beforeEnd <= length ? holeEnd : sequence &+ UInt32(bitPattern: length)
        } else if beforeEnd <= length {
            holeEnd = sequence
        }
        let isLate = now &- holeNanoseconds > FlowLimits.reorderingNanoseconds
        if isLate { retransmitted &+= 1 }
        return Arrival(newByteCount: Int(length), isRetransmission: isLate)
    }

    /// Whether a sequence number is within a window of what is expected.
    func isNear(_ sequence: UInt32) -> Bool {
        let distance = Int32(bitPattern: sequence &- next)
        return distance.magnitude < FlowLimits.endDistanceMax
    }

    /// Whether payload passed by lately: an acknowledgement then has to stay behind it.
    @inline(__always)
    func isQuiet(now: UInt64) -> Bool {
        payloadNanoseconds == 0 || now &- payloadNanoseconds > FlowLimits.quietNanoseconds
    }

    /// - Parameter sentByteCount: What a line carries of it, new or not.
    @inline(__always)
    mutating func count(_ newByteCount: Int, sent sentByteCount: Int, now: UInt64) {
        bytes &+= UInt64(newByteCount)
        let (sum, isOver) = burst.addingReportingOverflow(
            UInt32(truncatingIfNeeded: sentByteCount))
        burst = isOver ? .max : sum
        payloadNanoseconds = now
    }

    /// Counts from zero again, for what is another request, answer or burst. One that begins
    /// oftener than people and agents ask has used up its beginnings, and goes on counting.
    ///
    /// - Parameter isPause: After silence that nobody hurries through.
    mutating func begin(isPause: Bool, now: UInt64) {
        if isPause {
            burst = 0
            return
        }
        let earned = (now &- beginningNanoseconds) / FlowLimits.beginningNanoseconds
        if earned > 0 {
            beginnings = earned >= UInt64(FlowLimits.beginningsMax)
                ? FlowLimits.beginningsMax
                : min(beginnings &+ UInt8(earned), FlowLimits.beginningsMax)
            beginningNanoseconds = now
        }
        guard beginnings > 0 else { return }
        if burst > 0 { beginnings -= 1 }
        burst = 0
    }

    /// Another connection with the same ports: it sends no more than the one before it could.
    mutating func restart(now: UInt64) {
        let before = self
        self = Way()
        burst = before.burst
        payloadNanoseconds = before.payloadNanoseconds
        aheadBytes = before.aheadBytes
        aheadNanoseconds = before.aheadNanoseconds
        isFast = before.isFast
        beginnings = before.beginnings
        beginningNanoseconds = before.beginningNanoseconds
        begin(isPause: false, now: now)
    }

    /// Compares what is sent with the rate of tokens.
    ///
    /// - Parameter byteCount: Of whole packets.
    mutating func meter(_ byteCount: Int, now: UInt64) {
        let left = RateMeter.left(of: aheadBytes, since: aheadNanoseconds, now: now)
        aheadNanoseconds = now
        aheadBytes = UInt32(min(left + UInt64(byteCount), UInt64(FlowLimits.tokenBurstBytes) * 2))
        if aheadBytes > FlowLimits.tokenBurstBytes {
            isFast = true
        } else if aheadBytes < FlowLimits.tokenCalmBytes {
            isFast = false
        }
    }

    /// More than its rate, by so many bytes.
    var ahead: UInt32 { aheadBytes }
}
