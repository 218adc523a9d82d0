import CSodium
public import PacketMemory

/// Base64 for URLs, without padding: one text for each byte string.
///
/// Padding, white space and set bits behind the last byte are refused, so nobody can write the
/// same bytes in two ways. libsodium's codec takes constant time: the text of a key does not leak.
///
/// Source: RFC 4648, section 5; RFC 7515, section 2.
public enum Base64URL {
    public static func encode(_ bytes: [UInt8]) -> String {
        ByteArena.withCopy(of: bytes) { encode($0) }
    }

    /// The caller wipes the text's memory as far as it can, where `region` is secret.
    ///
    /// `sodium_bin2base64`
    public static func encode(_ region: ByteRegion) -> String {
        let capacity = sodium_base64_encoded_len(region.count, variant)
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
            guard let output = buffer.baseAddress else { return "" }
            defer { unsafe sodium_memzero(output, capacity) }
            _ = unsafe sodium_bin2base64(
                output, capacity, region.bytePointer, region.count, variant)
            return unsafe String(cString: output)
        }
    }

    /// - Returns: `nil` for anything but the one text of some bytes.
    public static func decode(_ text: [UInt8]) -> [UInt8]? {
        let arena = ByteArena(count: text.count / 4 * 3 + 3)
        return ByteArena.withCopy(of: text) { text in
            decode(text, into: arena.whole).map { arena.whole.prefix($0).bytes }
        }
    }

    public static func decode(_ text: String) -> [UInt8]? { decode([UInt8](text.utf8)) }

    /// - Parameter region: Room for the bytes; what they do not fill is unspecified.
    /// - Returns: How many bytes were written, or `nil` for anything but the one text of some
    ///   bytes and for too little room; `region` then holds zeros.
    ///
    /// `sodium_base642bin`
    public static func decode(_ text: ByteRegion, into region: ByteRegion) -> Int? {
        guard text.isASCII else {
            region.fill(with: 0)
            return nil
        }
        var written = 0
        let result = unsafe text.unsafeStart.withMemoryRebound(
            to: CChar.self, capacity: text.count
        ) {
            unsafe sodium_base642bin(
                region.bytePointer, region.count, $0, text.count, nil, &written, nil, variant)
        }
        if result == 0 { return written }
        region.fill(with: 0)
        return nil
    }

    private static var variant: CInt { sodium_base64_VARIANT_URLSAFE_NO_PADDING }
}
