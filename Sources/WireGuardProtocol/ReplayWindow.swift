public import PacketFormats
import PacketMemory

/// Remembers which transport counters have been accepted: a ring of bits that slides forward.
///
/// A bit counts only from the moment that its counter is passed, so no more than the bits that are
/// passed are cleared, and the window can be as wide as the ring.
///
/// Source: RFC 6479; WireGuard paper, section 5.4.6.
public struct ReplayWindow: ~Copyable, Sendable {
    /// One past the greatest accepted counter.
    private var next: UInt64 = 0
    /// Counters accepted so far.
    public private(set) var acceptedCount: UInt64 = 0
    private let words: ByteArena
    /// How far behind the greatest counter one may come.
    private let reach: UInt64
    /// Counters that no sender may use begin here.
    private let end: UInt64

    public init(_ profile: TunnelProfile = .wireguard) {
        self.init(words: Self.makeWords(profile), profile)
    }

    /// - Parameter words: Of ``makeWords(_:)``, and nobody else's to write.
    init(words: ByteArena, _ profile: TunnelProfile) {
        self.words = words
        reach = profile.replayWindow.reach
        end = profile.rejectAfterMessages
    }

    static func makeWords(_ profile: TunnelProfile) -> ByteArena {
        let words = ByteArena(count: profile.replayWindow.bitCount / 8)
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
    /// - Complexity: O(1), at most 129 words cleared, or 1,025 in profile `branchline`.
    public mutating func accept(_ counter: UInt64) -> Bool {
        guard counter < end else { return false }
        let offset = Self.offset(ofWord: counter >> 6, in: words)
        let bit: UInt64 = 1 << (counter & 63)
        if counter >= next {
            if counter > next { forget(from: next, to: counter) }
            // Its bit may be that of a counter which left the window.
            let word = words.whole.littleEndian64(at: offset)
            words.whole.storeLittleEndian(word | bit, at: offset)
            next = counter &+ 1
        } else {
            guard next &- counter &- 1 <= reach else { return false }
            let word = words.whole.littleEndian64(at: offset)
            guard word & bit == 0 else { return false }
            words.whole.storeLittleEndian(word | bit, at: offset)
        }
        acceptedCount &+= 1
        return true
    }

    /// Clears the bits of counters that are passed without having been seen.
    private mutating func forget(from first: UInt64, to end: UInt64) {
        guard end &- first < UInt64(words.whole.count * 8) else { return words.whole.fill(with: 0) }
        var counter = first
        while counter < end {
            let shift = counter & 63
            let count = min(64 &- shift, end &- counter)
            let passed = (UInt64.max &>> (64 &- count)) &<< shift
            let offset = Self.offset(ofWord: counter >> 6, in: words)
            let word = words.whole.littleEndian64(at: offset)
            words.whole.storeLittleEndian(word & ~passed, at: offset)
            counter &+= count
        }
    }

    /// Where the word of 64 counters lies; the ring's size is a power of two.
    @inline(__always)
    static func offset(ofWord word: UInt64, in words: ByteArena) -> Int {
        Int(truncatingIfNeeded: word &<< 3) & (words.whole.count &- 1)
    }
}

// MARK: - Handover

extension ReplayWindow {
    /// Writes the window, without words that no counter has reached.
    func write(to writer: inout SnapshotWriter) {
        writer.write(next)
        writer.write(acceptedCount)
        writer.write(words.whole.prefix(Self.usedByteCount(next: next, of: words.whole.count)))
    }

    /// What was written of another window; its words lie in the reader's memory.
    struct Written {
        fileprivate let next: UInt64
        fileprivate let acceptedCount: UInt64
        fileprivate let words: ByteRegion

        init(
            from reader: inout SnapshotReader, of profile: TunnelProfile
        ) throws(SnapshotError) {
            next = try reader.uint64()
            acceptedCount = try reader.uint64()
            guard next <= profile.rejectAfterMessages, acceptedCount <= next else {
                throw .invalid("a replay window")
            }
            words = try reader.bytes(
                ReplayWindow.usedByteCount(next: next, of: profile.replayWindow.bitCount / 8))
        }
    }

    /// Becomes that window, in place of one that nothing was accepted in.
    mutating func restore(_ written: Written) {
        next = written.next
        acceptedCount = written.acceptedCount
        words.whole.copy(from: written.words)
    }

    /// A window that has slid uses all of its ring.
    private static func usedByteCount(next: UInt64, of byteCount: Int) -> Int {
        Int(min((next &+ 63) / 64, UInt64(byteCount / 8))) * 8
    }
}
