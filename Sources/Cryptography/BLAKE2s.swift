public import PacketMemory

/// The hash function of the WireGuard protocol.
///
/// Own code, as neither libsodium nor the Swift crypto packages have BLAKE2s.
///
/// Source: RFC 7693.
public enum BLAKE2s {
    /// The 32-byte hash of `first`, followed by `second` where given.
    public static func hash(_ first: ByteRegion, _ second: ByteRegion? = nil) -> Digest32 {
        if let second { return hash(first, then: second) }
        return unsafe BLAKE2sScratch.with { scratch in
            unsafe BLAKE2sCompression.start(scratch.state, outputCount: 32, keyCount: 0)
            unsafe scratch.finish(first, consumed: 0)
            return unsafe Digest32(copying: ByteRegion(start: scratch.state, count: 32))
        }
    }

    public static func hash(_ bytes: [UInt8]) -> Digest32 {
        ByteArena.withCopy(of: bytes) { hash($0) }
    }

    /// `HASH(h ‖ data)`, by which a handshake's running hash takes in each message field.
    ///
    /// Source: WireGuard paper, section 5.4.
    public static func hash(_ running: Digest32, _ data: ByteRegion) -> Digest32 {
        running.withBytes { hash($0, then: data) }
    }

    /// Keyed BLAKE2s with 16 bytes of output, the MAC of messages and cookies.
    /// - Parameter key: 0...32 bytes.
    public static func mac(key: ByteRegion, _ data: ByteRegion) -> MAC16 {
        precondition(key.count <= 32, "a BLAKE2s key has at most 32 bytes")
        return unsafe BLAKE2sScratch.with { scratch in
            unsafe BLAKE2sCompression.start(
                scratch.state, outputCount: MAC16.count, keyCount: key.count)
            if key.count == 0 {
                unsafe scratch.finish(data, consumed: 0)
            } else {
                // The padded key is the first block, and the last one where nothing follows.
                let keyBlockCount = UInt64(BLAKE2sCompression.blockCount)
                unsafe scratch.load(key)
                unsafe BLAKE2sCompression.compress(
                    scratch.state, scratch.block, consumed: keyBlockCount,
                    isLast: data.count == 0)
                if data.count > 0 { unsafe scratch.finish(data, consumed: keyBlockCount) }
            }
            return unsafe MAC16(copying: ByteRegion(start: scratch.state, count: MAC16.count))
        }
    }

    private static func hash(_ first: ByteRegion, then second: ByteRegion) -> Digest32 {
        unsafe BLAKE2sScratch.with { scratch in
            unsafe BLAKE2sCompression.start(scratch.state, outputCount: 32, keyCount: 0)
            unsafe scratch.finish(first, second)
            return unsafe Digest32(copying: ByteRegion(start: scratch.state, count: 32))
        }
    }
}
