import CSodium
public import PacketMemory

/// ChaCha20-Poly1305 for the fields of handshake messages.
///
/// The nonce is 4 zero bytes and the little-endian counter. Source and destination of a call are
/// the same bytes or do not overlap.
///
/// Source: RFC 8439, section 2.8; WireGuard paper, section 5.4.
public enum HandshakeAEAD {
    public static var tagCount: Int { 16 }

    /// Encrypts `plaintext` and appends the tag.
    /// - Parameter destination: At least 16 bytes longer than `plaintext`.
    ///
    /// `crypto_aead_chacha20poly1305_ietf_encrypt`
    public static func seal(
        key: borrowing Secret32, counter: UInt64, plaintext: ByteRegion, associated: Digest32,
        into destination: ByteRegion
    ) {
        precondition(destination.count >= plaintext.count + tagCount, "no room for the tag")
        Sodium.prepare()
        withNonce(counter) { nonce in
            associated.withBytes { associated in
                // Fails only for lengths beyond 256 GiB.
                _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
                    destination.bytePointer, nil, plaintext.bytePointer,
                    UInt64(plaintext.count), associated.bytePointer, UInt64(associated.count),
                    nil, nonce.bytePointer,
                    key.bytePointer)
            }
        }
    }

    /// Checks the tag and decrypts.
    /// - Parameter destination: At least `ciphertext.count - 16` bytes.
    /// - Returns: `false` for a ciphertext that is too short or not authentic; the destination
    ///   then holds nothing of the plaintext.
    ///
    /// `crypto_aead_chacha20poly1305_ietf_decrypt`
    public static func open(
        key: borrowing Secret32, counter: UInt64, ciphertext: ByteRegion, associated: Digest32,
        into destination: ByteRegion
    ) -> Bool {
        guard ciphertext.count >= tagCount else { return false }
        precondition(destination.count >= ciphertext.count - tagCount, "no room for the plaintext")
        Sodium.prepare()
        let status = withNonce(counter) { nonce in
            associated.withBytes { associated in
                unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
                    destination.bytePointer, nil, nil, ciphertext.bytePointer,
                    UInt64(ciphertext.count), associated.bytePointer, UInt64(associated.count),
                    nonce.bytePointer, key.bytePointer)
            }
        }
        return status == 0
    }

    @inline(__always)
    private static func withNonce<Result>(
        _ counter: UInt64, _ body: (ByteRegion) -> Result
    ) -> Result {
        var words = (UInt32(0), UInt32(0), UInt32(0))
        return unsafe withUnsafeMutableBytes(of: &words) { buffer in
            guard let start = buffer.baseAddress else { preconditionFailure("no storage") }
            let nonce = unsafe ByteRegion(start: start, count: 12)
            nonce.storeLittleEndian(counter, at: 4)
            return body(nonce)
        }
    }
}
