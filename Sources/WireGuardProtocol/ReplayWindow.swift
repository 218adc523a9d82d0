import PacketMemory

/// Remembers which transport counters have been accepted: a ring of bits that slides forward.
///
/// Source: RFC 6479; WireGuard paper, section 5.4.6.
public struct ReplayWindow: ~Copyable, Sendable {
    /// One past the greatest accepted counter.
    private var next: UInt64 = 0
    /// Counters accepted so far.
    public private(set) var acceptedCount: UInt64 = 0
    private let words: ByteArena

    public init() { self.init(words: Self.makeWords()) }

    /// - Parameter words: Of ``makeWords()``, and nobody else's to write.
    init(words: ByteArena) { self.words = words }

    static func makeWords() -> ByteArena {
        let words = ByteArena(count: wordCount * 8)
        words.whole.fill(with: 0)
        return words
    }

    /// Counters that lie below the greatest accepted one and have not been seen: an estimate of
    /// loss, in packets, that late arrivals still lower.
    public var missingCount: UInt64 { next &- acceptedCount }

    /// Accepts a transport counter once.
    ///
    /// Call only after the packet has authenticated.
    /// - Parameter counter: The message's counter field.
    /// - Returns: `false` if the counter was seen, lies behind the window, or is one of those that
    ///   no sender may use.
    /// - Complexity: O(1), at most 128 words cleared.
    public mutating func accept(_ counter: UInt64) -> Bool {
        guard counter < ProtocolConstants.rejectAfterMessages else { return false }
        if counter >= next {
            slide(to: counter)
        } else if next &- counter &- 1 > UInt64(ImplementationLimits.replayWindowSize) {
            return false
        }
        let offset = Self.offset(ofWord: counter >> 6)
        let bit: UInt64 = 1 << (counter & 63)
        let word = words.whole.littleEndian64(at: offset)
        guard word & bit == 0 else { return false }
        words.whole.storeLittleEndian(word | bit, at: offset)
        acceptedCount &+= 1
        return true
    }

    /// Makes room for a counter that is greater than any before.
    private mutating func slide(to counter: UInt64) {
        // Before the first packet every word is clear, and word 0 is the current one.
        let current = next == 0 ? 0 : (next &- 1) >> 6
        let advance = min((counter >> 6) &- current, UInt64(Self.wordCount))
        var step: UInt64 = 0
        while step < advance {
            step &+= 1
            words.whole.storeLittleEndian(
                UInt64(0), at: Self.offset(ofWord: current &+ step))
        }
        next = counter &+ 1
    }

    static func offset(ofWord word: UInt64) -> Int {
        Int(truncatingIfNeeded: word & UInt64(wordCount - 1)) &* 8
    }

    private static var wordCount: Int { ImplementationLimits.replayWindowBitCount / 64 }
}

// MARK: - Handover

extension ReplayWindow {
    /// Writes the window, without words that no counter has reached.
    func write(to writer: inout SnapshotWriter) {
        writer.write(next)
        writer.write(acceptedCount)
        writer.write(words.whole.prefix(Self.usedByteCount(next: next)))
    }

    /// What was written of another window; its words lie in the reader's memory.
    struct Written {
        fileprivate let next: UInt64
        fileprivate let acceptedCount: UInt64
        fileprivate let words: ByteRegion

        init(from reader: inout SnapshotReader) throws(SnapshotError) {
            next = try reader.uint64()
            acceptedCount = try reader.uint64()
            guard next <= ProtocolConstants.rejectAfterMessages, acceptedCount <= next else {
                throw .invalid("a replay window")
            }
            words = try reader.bytes(ReplayWindow.usedByteCount(next: next))
        }
    }

    /// Becomes that window, in place of one that nothing was accepted in.
    mutating func restore(_ written: Written) {
        next = written.next
        acceptedCount = written.acceptedCount
        words.whole.copy(from: written.words)
    }

    /// A window that has slid uses all of its ring.
    private static func usedByteCount(next: UInt64) -> Int {
        Int(min((next &+ 63) / 64, UInt64(wordCount))) * 8
    }
}
