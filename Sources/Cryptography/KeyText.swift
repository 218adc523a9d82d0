import CSodium
import PacketMemory

/// The two text forms of a 32-byte key: base64 as `wg` prints it, and lower-case hexadecimal.
///
/// libsodium's codecs take constant time, so the text of a private key does not leak by timing.
enum KeyText {
    /// 32 bytes in base64 with its one `=`, as the WireGuard tools require.
    static let base64Count = 44
    static let hexCount = 64

    /// Decodes exactly 32 bytes of standard, padded base64. `sodium_base642bin`
    /// - Returns: `false` for any other text; `region` then holds zeros.
    static func decode(base64 text: some Collection<UInt8>, into region: ByteRegion) -> Bool {
        unsafe decode(text, count: base64Count, into: region) { output, input, written in
            unsafe sodium_base642bin(
                output, 32, input, base64Count, nil, written, nil, sodium_base64_VARIANT_ORIGINAL)
        }
    }

    /// Decodes 64 hexadecimal digits of either case. `sodium_hex2bin`
    /// - Returns: `false` for any other text; `region` then holds zeros.
    static func decode(hex text: some Collection<UInt8>, into region: ByteRegion) -> Bool {
        unsafe decode(text, count: hexCount, into: region) { output, input, written in
            unsafe sodium_hex2bin(output, 32, input, hexCount, nil, written, nil)
        }
    }

    /// Appends a key in base64. `sodium_bin2base64`
    static func append(base64 region: ByteRegion, to text: inout [UInt8]) {
        unsafe append(region, count: base64Count, to: &text) { output, input in
            _ = unsafe sodium_bin2base64(
                output, base64Count + 1, input, 32, sodium_base64_VARIANT_ORIGINAL)
        }
    }

    /// Appends a key in lower-case hexadecimal. `sodium_bin2hex`
    static func append(hex region: ByteRegion, to text: inout [UInt8]) {
        unsafe append(region, count: hexCount, to: &text) { output, input in
            _ = unsafe sodium_bin2hex(output, hexCount + 1, input, 32)
        }
    }

    private typealias Decoder = (
        UnsafeMutablePointer<UInt8>, UnsafePointer<CChar>, UnsafeMutablePointer<Int>
    ) -> CInt

    private static func decode(
        _ text: some Collection<UInt8>, count: Int, into region: ByteRegion, _ decoder: Decoder
    ) -> Bool {
        precondition(region.count == 32, "a key is 32 bytes long")
        region.fill(with: 0)
        return text.withContiguousStorageIfAvailable { input in
            guard input.count == count, let start = input.baseAddress else { return false }
            // libsodium 1.0.18 reads other bytes as the last character of the base64 alphabet.
            // Their bits are gathered, not searched: the time depends on the length alone.
            guard unsafe input.reduce(0, |) & 0x80 == 0 else {
                region.fill(with: 0)
                return false
            }
            var written = 0
            let result = unsafe start.withMemoryRebound(to: CChar.self, capacity: count) {
                unsafe decoder(region.bytePointer, $0, &written)
            }
            if result == 0 && written == 32 { return true }
            region.fill(with: 0)
            return false
        } ?? false
    }

    /// Writes the text in its place, so that no copy of it is left.
    private static func append(
        _ region: ByteRegion, count: Int, to text: inout [UInt8],
        _ encoder: (UnsafeMutablePointer<CChar>, UnsafePointer<UInt8>) -> Void
    ) {
        precondition(region.count == 32, "a key is 32 bytes long")
        // The encoders end the text with a NUL.
        text.reserveWiping(count + 1)
        let start = text.count
        text.append(contentsOf: repeatElement(0, count: count + 1))
        unsafe text.withUnsafeMutableBytes { buffer in
            guard let output = buffer.baseAddress else { return }
            unsafe encoder(
                (output + start).assumingMemoryBound(to: CChar.self), region.bytePointer)
        }
        text.removeLast()
    }
}
