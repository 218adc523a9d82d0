import CSodium
public import PacketMemory

/// A BLAKE2s computation that takes its input in parts; wiped when it ends.
///
/// Allocates once. Where all input is at hand, ``BLAKE2s`` works on the stack.
///
/// Source: RFC 7693, section 3.3.
public struct BLAKE2sState: ~Copyable {
    private static var blockCount: Int { BLAKE2sCompression.blockCount }

    private let memory: ByteArena
    private let outputCount: Int
    private var bufferedCount = 0
    private var consumed: UInt64 = 0

    private var buffer: ByteRegion { memory.whole.prefix(BLAKE2sState.blockCount) }
    private var chain: ByteRegion { memory.whole.region(from: BLAKE2sState.blockCount) }

    /// - Parameter outputCount: Size of the result, 1...32 bytes.
    /// - Parameter key: 0...32 bytes; none and an empty one are the same. Not kept.
    public init(outputCount: Int = 32, key: ByteRegion? = nil) {
        let keyCount = key?.count ?? 0
        precondition((1...32).contains(outputCount), "BLAKE2s gives 1 to 32 bytes")
        precondition(keyCount <= 32, "a BLAKE2s key has at most 32 bytes")
        self.outputCount = outputCount
        memory = ByteArena(count: BLAKE2sCompression.blockCount + BLAKE2sCompression.stateCount)
        unsafe BLAKE2sCompression.start(
            chain.unsafeStart, outputCount: outputCount, keyCount: keyCount)
        if let key, keyCount > 0 {
            // The key is a first block of its own, padded with zeros.
            buffer.fill(with: 0)
            buffer.copy(from: key)
            bufferedCount = BLAKE2sState.blockCount
        }
    }

    deinit {
        unsafe sodium_memzero(memory.whole.unsafeStart, memory.whole.count)
    }

    /// Appends `data` to what is hashed.
    public mutating func update(_ data: ByteRegion) {
        var rest = data
        while rest.count > 0 {
            // A full buffer is compressed only once more input proves that it is not the last.
            if bufferedCount == BLAKE2sState.blockCount { compressBuffer(isLast: false) }
            let takenCount = min(rest.count, BLAKE2sState.blockCount - bufferedCount)
            buffer.copy(from: rest.prefix(takenCount), to: bufferedCount)
            bufferedCount += takenCount
            rest = rest.region(from: takenCount)
        }
    }

    /// Ends the computation and writes the result to the start of `region`.
    public consuming func finalize(into region: ByteRegion) {
        compressLast()
        region.copy(from: chain.prefix(outputCount))
    }

    /// Ends a computation of 32 bytes.
    public consuming func finalize() -> Digest32 {
        precondition(outputCount == 32, "a digest has 32 bytes")
        compressLast()
        return Digest32(copying: chain)
    }

    private mutating func compressLast() {
        buffer.region(from: bufferedCount).fill(with: 0)
        compressBuffer(isLast: true)
    }

    private mutating func compressBuffer(isLast: Bool) {
        consumed &+= UInt64(bufferedCount)
        bufferedCount = 0
        unsafe BLAKE2sCompression.compress(
            chain.unsafeStart, buffer.unsafeStart, consumed: consumed, isLast: isLast)
    }
}
