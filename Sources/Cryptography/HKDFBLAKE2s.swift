public import PacketMemory

/// HKDF over HMAC-BLAKE2s, the function KDF_n of the WireGuard protocol.
///
/// Each `mix` replaces the chaining key by the first output and hands out the others. The input
/// may be the bytes of one of the outputs: it is read completely before any is written.
///
/// Source: WireGuard paper, section 5.4; RFC 5869.
public enum HKDFBLAKE2s {
    /// KDF_1.
    public static func mix(_ chainingKey: inout Secret32, _ input: ByteRegion) {
        unsafe BLAKE2sScratch.with { scratch in
            unsafe extract(scratch, chainingKey, input)
            unsafe expand(scratch, index: 1, into: &chainingKey)
        }
    }

    /// KDF_2.
    public static func mix(
        _ chainingKey: inout Secret32, _ input: ByteRegion, key: inout Secret32
    ) {
        unsafe BLAKE2sScratch.with { scratch in
            unsafe extract(scratch, chainingKey, input)
            unsafe expand(scratch, index: 1, into: &chainingKey)
            unsafe expand(scratch, index: 2, into: &key)
        }
    }

    /// KDF_3, which takes in a preshared key.
    public static func mix(
        _ chainingKey: inout Secret32, _ input: ByteRegion,
        temporary: inout Secret32, key: inout Secret32
    ) {
        unsafe BLAKE2sScratch.with { scratch in
            unsafe extract(scratch, chainingKey, input)
            unsafe expand(scratch, index: 1, into: &chainingKey)
            unsafe expand(scratch, index: 2, into: &temporary)
            unsafe expand(scratch, index: 3, into: &key)
        }
    }

    /// Computes HMAC(`chainingKey`, `input`) and makes it the key of the expansions.
    private static func extract(
        _ scratch: BLAKE2sScratch, _ chainingKey: borrowing Secret32, _ input: ByteRegion
    ) {
        chainingKey.withBytes { unsafe HMACBLAKE2s.authenticate(scratch, key: $0, input) }
        // The digest lies in `state`, which keying does not touch.
        unsafe HMACBLAKE2s.prepare(scratch, key: ByteRegion(start: scratch.state, count: 32))
    }

    /// T(i) = HMAC(key, T(i - 1) ‖ i), with nothing in place of T(0).
    private static func expand(
        _ scratch: BLAKE2sScratch, index: UInt8, into output: inout Secret32
    ) {
        let previousCount = index == 1 ? 0 : 32
        let message = unsafe ByteRegion(start: scratch.message, count: previousCount + 1)
        if previousCount > 0 {
            unsafe message.copy(from: ByteRegion(start: scratch.state, count: previousCount))
        }
        message[previousCount] = index
        unsafe HMACBLAKE2s.finish(scratch, message)
        output.withMutableBytes { output in
            unsafe output.copy(from: ByteRegion(start: scratch.state, count: 32))
        }
    }
}
