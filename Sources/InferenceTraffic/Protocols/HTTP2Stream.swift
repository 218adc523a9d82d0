import PacketMemory

/// A stream that is followed from its request to its response's end, in lent memory.
///
/// All zero is a free slot.
struct HTTP2Stream {
    struct Flags: OptionSet {
        let rawValue: UInt8
        /// The final response's head is complete.
        static let answered = Flags(rawValue: 1)
        /// Its body is a stream of tokens.
        static let streams = Flags(rawValue: 2)
        static let grpc = Flags(rawValue: 4)
        /// Bytes were missed: the messages' boundaries are unknown.
        static let lost = Flags(rawValue: 8)
        static let hasMessage = Flags(rawValue: 16)
    }

    private let slot: ByteRegion

    private init(_ slot: ByteRegion) { self.slot = slot }

    static func find(_ stream: UInt32, in streams: ByteRegion) -> HTTP2Stream? {
        for number in 0..<ScanLimits.streamsMax {
            let slot = streams.region(at: number &* slotByteCount, count: slotByteCount)
            if slot.bigEndian32(at: 0) == stream { return HTTP2Stream(slot) }
        }
        return nil
    }

    /// Nothing happens where no slot is free: the stream is not followed.
    static func open(_ stream: UInt32, in streams: ByteRegion) {
        guard let free = find(0, in: streams) else { return }
        free.slot.storeBigEndian(stream, at: 0)
    }

    func close() { slot.fill(with: 0) }

    private var flags: Flags { Flags(rawValue: slot[4]) }
    func has(_ flag: Flags) -> Bool { flags.contains(flag) }
    func insert(_ flag: Flags) { slot[4] = flags.union(flag).rawValue }

    /// Streams without their response's end, and those of them that stream tokens.
    static func counts(in streams: ByteRegion) -> (open: UInt16, streaming: UInt16) {
        var (open, streaming): (UInt16, UInt16) = (0, 0)
        for number in 0..<ScanLimits.streamsMax {
            let slot = streams.region(at: number &* slotByteCount, count: slotByteCount)
            guard slot.bigEndian32(at: 0) != 0 else { continue }
            open &+= 1
            if HTTP2Stream(slot).has(.streams) { streaming &+= 1 }
        }
        return (open, streaming)
    }

    // MARK: - gRPC

    /// Counts the messages that begin: a flag, a length of four bytes, as much content.
    ///
    /// A call that answers with a second message streams. Source: "gRPC over HTTP2",
    /// Length-Prefixed-Message.
    func readMessages(_ bytes: ByteRegion) -> UInt16 {
        guard !has(.lost) else { return 1 }
        var began: UInt16 = 0
        var offset = 0
        while offset < bytes.count {
            let filled = slot[5]
            let remaining = slot.bigEndian32(at: 8)
            if filled == 5 {
                let count = min(Int(remaining), bytes.count &- offset)
                offset &+= count
                slot.storeBigEndian(remaining &- UInt32(count), at: 8)
                if Int(remaining) == count { slot[5] = 0 }
                continue
            }
            let byte = bytes[offset]
            offset &+= 1
            if filled == 0 {
                // The compressed-flag is 0 or 1.
                guard byte <= 1 else {
                    insert(.lost)
                    return began &+ 1
                }
                slot.storeBigEndian(0 as UInt32, at: 8)
            } else {
                slot.storeBigEndian(remaining &<< 8 | UInt32(byte), at: 8)
            }
            slot[5] = filled &+ 1
            guard filled == 4 else { continue }
            began &+= 1
            if has(.hasMessage) { insert(.streams) }
            insert(.hasMessage)
            if slot.bigEndian32(at: 8) == 0 { slot[5] = 0 }
        }
        return began
    }

    // MARK: - Usage

    func readUsage(_ bytes: ByteRegion, vocabulary: borrowing Vocabulary) -> UInt32 {
        let place = slot.region(at: 12, count: UsageScanner.byteCount)
        var usage = UsageScanner(reading: place)
        let tokens = usage.read(bytes, vocabulary: vocabulary)
        usage.write(to: place)
        return tokens
    }

    /// Content is missing.
    func skip() {
        if has(.grpc) { insert(.lost) }
        let place = slot.region(at: 12, count: UsageScanner.byteCount)
        var usage = UsageScanner(reading: place)
        usage.skip()
        usage.write(to: place)
    }

    static let slotByteCount = 24
    static let byteCount = slotByteCount * ScanLimits.streamsMax
}
