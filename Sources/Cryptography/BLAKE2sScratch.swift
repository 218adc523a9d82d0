import CSodium
import PacketMemory

/// Working memory on the stack for hashes that are computed in one go, wiped afterwards.
///
/// Invariant: the pointers handed out lie within the allocation and do not outlive `body`.
@unsafe
struct BLAKE2sScratch {
    /// The chaining value of the hash being computed; the digest once it is finished.
    let state: UnsafeMutableRawPointer
    /// One padded message block.
    let block: UnsafeMutableRawPointer
    /// HMAC's two chaining values after the padded key.
    let inner: UnsafeMutableRawPointer
    let outer: UnsafeMutableRawPointer
    /// Up to 33 bytes of input that is put together here.
    let message: UnsafeMutableRawPointer

    private static let byteCount = 2 * 64 + 3 * 32

    @inline(__always)
    static func with<Result>(_ body: (BLAKE2sScratch) -> Result) -> Result {
        unsafe withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 64) { memory in
            guard let start = memory.baseAddress else { preconditionFailure("no stack memory") }
            defer { unsafe sodium_memzero(start, byteCount) }
            return unsafe body(
                BLAKE2sScratch(
                    state: start + 128, block: start, inner: start + 160, outer: start + 192,
                    message: start + 64))
        }
    }

    /// Compresses all of `data` into `state`, ending the hash.
    ///
    /// - Parameter consumed: Bytes compressed before; with none, empty data is a block of zeros.
    @inline(__always)
    func finish(_ data: ByteRegion, consumed: UInt64) {
        var consumed = consumed
        var rest = data
        while rest.count > BLAKE2sCompression.blockCount {
            consumed &+= UInt64(BLAKE2sCompression.blockCount)
            unsafe BLAKE2sCompression.compress(
                state, rest.unsafeStart, consumed: consumed, isLast: false)
            rest = rest.region(from: BLAKE2sCompression.blockCount)
        }
        consumed &+= UInt64(rest.count)
        if rest.count == BLAKE2sCompression.blockCount {
            unsafe BLAKE2sCompression.compress(
                state, rest.unsafeStart, consumed: consumed, isLast: true)
        } else {
            unsafe load(rest)
            unsafe BLAKE2sCompression.compress(state, block, consumed: consumed, isLast: true)
        }
    }

    /// Compresses `first` and then `second` into a state that has consumed nothing.
    @inline(__always)
    func finish(_ first: ByteRegion, _ second: ByteRegion) {
        let blockCount = BLAKE2sCompression.blockCount
        var consumed: UInt64 = 0
        var rest = first
        while rest.count > blockCount {
            consumed &+= UInt64(blockCount)
            unsafe BLAKE2sCompression.compress(
                state, rest.unsafeStart, consumed: consumed, isLast: false)
            rest = rest.region(from: blockCount)
        }
        if second.count == 0 { return unsafe finish(rest, consumed: consumed) }
        // One block takes the end of the first part and the beginning of the second.
        let takenCount = min(blockCount - rest.count, second.count)
        unsafe load(rest)
        unsafe ByteRegion(start: block, count: blockCount)
            .copy(from: second.prefix(takenCount), to: rest.count)
        consumed &+= UInt64(rest.count + takenCount)
        let isLast = takenCount == second.count
        unsafe BLAKE2sCompression.compress(state, block, consumed: consumed, isLast: isLast)
        if !isLast { unsafe finish(second.region(from: takenCount), consumed: consumed) }
    }

    /// Fills `block` with at most 64 bytes and zeros.
    @inline(__always)
    func load(_ data: ByteRegion) {
        let region = unsafe ByteRegion(start: block, count: BLAKE2sCompression.blockCount)
        region.fill(with: 0)
        region.copy(from: data)
    }

    @inline(__always)
    func copy32(from source: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer) {
        unsafe target.copyMemory(from: source, byteCount: BLAKE2sCompression.stateCount)
    }
}
