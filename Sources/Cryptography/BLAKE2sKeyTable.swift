import CBlake2s
public import PacketMemory

/// Keys of the 16-byte MAC ``BLAKE2s/mac(key:_:)``, to find the one under which a message is valid.
///
/// Keeps the state that each key's own block leaves, and computes several keys side by side.
public struct BLAKE2sKeyTable: ~Copyable {
    /// Keys in the table, numbered from 0.
    public private(set) var count = 0

    /// Groups of keys, each the eight words of as many states as there are lanes.
    private var states = ByteArena(count: groupByteCount)
    private var groupCapacity = 1
    /// Lanes that the processor computes with one instruction.
    private let vectorWidth: Int32

    public init() { self.init(vectorWidth: Self.widestVector) }

    /// - Parameter vectorWidth: At most ``widestVector``.
    init(vectorWidth: Int32) { self.vectorWidth = vectorWidth }

    /// 4, 8 or 16.
    static let widestVector = blake2s_vector_width()

    public mutating func append(_ key: Digest32) {
        if count == groupCapacity * Self.laneCount { grow() }
        count += 1
        replace(count - 1, with: key)
    }

    public mutating func replace(_ index: Int, with key: Digest32) {
        precondition(index >= 0 && index < count, "no such key")
        let group = group(index / Self.laneCount)
        let lane = index % Self.laneCount
        unsafe BLAKE2sScratch.with { scratch in
            unsafe BLAKE2sCompression.start(
                scratch.state, outputCount: MAC16.count, keyCount: Secret32.count)
            key.withBytes { unsafe scratch.load($0) }
            unsafe BLAKE2sCompression.compress(
                scratch.state, scratch.block, consumed: Self.keyBlockCount, isLast: false)
            let state = unsafe ByteRegion(
                start: scratch.state, count: BLAKE2sCompression.stateCount)
            for word in 0..<Self.wordCount {
                let value = state.littleEndian32(at: 4 * word)
                unsafe group.unsafeStart.storeBytes(
                    of: value, toByteOffset: 4 * (word * Self.laneCount + lane),
                    as: UInt32.self)
            }
        }
    }

    public mutating func removeLast() {
        precondition(count > 0, "no key to remove")
        count -= 1
    }

    /// The number of the first key under which `mac` is the MAC of `data`.
    ///
    /// How long it takes depends on the number, which is no secret: every key is compared in whole
    /// and together with its neighbours.
    ///
    /// - Parameter mac: Exactly 16 bytes.
    /// - Parameter hint: A key to try first.
    /// - Returns: `nil` if there is none, and for no data.
    public func firstIndex(of data: ByteRegion, mac: ByteRegion, hint: Int? = nil) -> Int? {
        precondition(mac.count == MAC16.count, "a MAC is 16 bytes long")
        guard data.count > 0, count > 0 else { return nil }
        return unsafe withUnsafeTemporaryAllocation(
            byteCount: Self.groupByteCount + BLAKE2sCompression.blockCount, alignment: 64
        ) { memory in
            guard let start = memory.baseAddress else { preconditionFailure("no stack memory") }
            // Invariant: both regions lie within the allocation and do not outlive this closure.
            let scratch = unsafe ByteRegion(start: start, count: Self.groupByteCount)
            let last = unsafe ByteRegion(
                start: start + Self.groupByteCount, count: BLAKE2sCompression.blockCount)
            // The message is padded once, for all keys.
            let wholeBlockCount = (data.count - 1) / BLAKE2sCompression.blockCount
            last.fill(with: 0)
            last.copy(from: data.region(from: wholeBlockCount * BLAKE2sCompression.blockCount))
            let hinted = hint.map { $0 / Self.laneCount } ?? -1
            let groupCount = (count + Self.laneCount - 1) / Self.laneCount
            if hinted >= 0 && hinted < groupCount,
                let index = match(hinted, data, wholeBlockCount, last, mac, scratch)
            {
                return index
            }
            for group in 0..<groupCount where group != hinted {
                if let index = match(group, data, wholeBlockCount, last, mac, scratch) {
                    return index
                }
            }
            return nil
        }
    }

    /// The first key of one group under which the MAC is valid.
    private func match(
        _ number: Int, _ data: ByteRegion, _ wholeBlockCount: Int, _ last: ByteRegion,
        _ mac: ByteRegion, _ scratch: ByteRegion
    ) -> Int? {
        scratch.copy(from: group(number))
        var consumed = Self.keyBlockCount
        for block in 0..<wholeBlockCount {
            consumed &+= UInt64(BLAKE2sCompression.blockCount)
            let block = data.region(
                at: block * BLAKE2sCompression.blockCount, count: BLAKE2sCompression.blockCount)
            compress(scratch, block, consumed: consumed, isLast: false)
        }
        consumed = Self.keyBlockCount &+ UInt64(data.count)
        compress(scratch, last, consumed: consumed, isLast: true)
        var found: Int?
        for lane in stride(from: Self.laneCount - 1, through: 0, by: -1) {
            var difference: UInt32 = 0
            for word in 0..<MAC16.count / 4 {
                let value = unsafe scratch.unsafeStart.load(
                    fromByteOffset: 4 * (word * Self.laneCount + lane), as: UInt32.self)
                difference |= value ^ mac.littleEndian32(at: 4 * word)
            }
            let index = number * Self.laneCount + lane
            if difference == 0 && index < count { found = index }
        }
        return found
    }

    private func compress(
        _ states: ByteRegion, _ block: ByteRegion, consumed: UInt64, isLast: Bool
    ) {
        // Invariant: the states are those of one group, and the block is a whole one.
        unsafe blake2s_compress_lanes(
            states.unsafeStart.assumingMemoryBound(to: UInt32.self), block.bytePointer, consumed,
            isLast ? 1 : 0, vectorWidth)
    }

    private func group(_ number: Int) -> ByteRegion {
        states.whole.region(at: number * Self.groupByteCount, count: Self.groupByteCount)
    }

    private mutating func grow() {
        let more = ByteArena(count: 2 * groupCapacity * Self.groupByteCount)
        more.whole.copy(from: states.whole)
        groupCapacity *= 2
        states = more
    }

    private static var laneCount: Int { Int(BLAKE2S_LANES) }
    private static var wordCount: Int { BLAKE2sCompression.stateCount / 4 }
    private static var groupByteCount: Int { wordCount * laneCount * 4 }
    private static var keyBlockCount: UInt64 { UInt64(BLAKE2sCompression.blockCount) }
}
