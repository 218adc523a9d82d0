import PacketMemory

/// HMAC with BLAKE2s, for keys of 32 bytes.
///
/// Source: RFC 2104.
enum HMACBLAKE2s {
    private static let innerPad: UInt64 = 0x3636_3636_3636_3636
    private static let outerPad: UInt64 = 0x5c5c_5c5c_5c5c_5c5c
    private static let blockCount = UInt64(BLAKE2sCompression.blockCount)

    /// Leaves HMAC(`key`, `data`) in the scratch's state.
    static func authenticate(_ scratch: BLAKE2sScratch, key: ByteRegion, _ data: ByteRegion) {
        unsafe prepare(scratch, key: key)
        if data.count > 0 { return unsafe finish(scratch, data) }
        // Without data the padded key is the inner hash's last block.
        unsafe loadPadded(scratch, key, pad: innerPad)
        unsafe BLAKE2sCompression.start(scratch.state, outputCount: 32, keyCount: 0)
        unsafe BLAKE2sCompression.compress(
            scratch.state, scratch.block, consumed: blockCount, isLast: true)
        unsafe finishOuter(scratch)
    }

    /// Computes the two states that depend on the key alone.
    /// - Parameter key: 32 bytes outside the scratch's block and kept states.
    static func prepare(_ scratch: BLAKE2sScratch, key: ByteRegion) {
        unsafe loadPadded(scratch, key, pad: innerPad)
        unsafe BLAKE2sCompression.start(scratch.inner, outputCount: 32, keyCount: 0)
        unsafe BLAKE2sCompression.compress(
            scratch.inner, scratch.block, consumed: blockCount, isLast: false)
        unsafe loadPadded(scratch, key, pad: outerPad)
        unsafe BLAKE2sCompression.start(scratch.outer, outputCount: 32, keyCount: 0)
        unsafe BLAKE2sCompression.compress(
            scratch.outer, scratch.block, consumed: blockCount, isLast: false)
    }

    /// Leaves HMAC(key, `data`) in the scratch's state, after `prepare`.
    /// - Parameter data: At least one byte.
    static func finish(_ scratch: BLAKE2sScratch, _ data: ByteRegion) {
        unsafe scratch.copy32(from: scratch.inner, to: scratch.state)
        unsafe scratch.finish(data, consumed: blockCount)
        unsafe finishOuter(scratch)
    }

    private static func finishOuter(_ scratch: BLAKE2sScratch) {
        unsafe scratch.load(ByteRegion(start: scratch.state, count: 32))
        unsafe scratch.copy32(from: scratch.outer, to: scratch.state)
        unsafe BLAKE2sCompression.compress(
            scratch.state, scratch.block, consumed: blockCount + 32, isLast: true)
    }

    @inline(__always)
    private static func loadPadded(_ scratch: BLAKE2sScratch, _ key: ByteRegion, pad: UInt64) {
        precondition(key.count == 32, "the keys of this HMAC are 32 bytes long")
        let block = unsafe ByteRegion(start: scratch.block, count: BLAKE2sCompression.blockCount)
        for offset in stride(from: 0, to: 32, by: 8) {
            block.storeLittleEndian(key.littleEndian64(at: offset) ^ pad, at: offset)
            block.storeLittleEndian(pad, at: offset &+ 32)
        }
    }
}
