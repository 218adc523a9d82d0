import CSodium
public import PacketMemory

/// The AEAD of cookie replies, whose nonce is long enough to be drawn at random.
///
/// Source: draft-irtf-cfrg-xchacha-03; WireGuard paper, section 5.4.7.
public enum XChaCha20Poly1305 {
    public static var nonceCount: Int { 24 }
    public static var tagCount: Int { 16 }

    /// Encrypts `plaintext` and appends the tag.
    /// - Parameter nonce: 24 bytes.
    /// - Parameter destination: At least 16 bytes longer than `plaintext`, and the same bytes as
    ///   it or none of them.
    ///
    /// `crypto_aead_xchacha20poly1305_ietf_encrypt`
    public static func seal(
        key: borrowing Secret32, nonce: ByteRegion, plaintext: ByteRegion, associated: ByteRegion,
        into destination: ByteRegion
    ) {
        precondition(nonce.count == nonceCount, "the nonce is 24 bytes long")
        precondition(destination.count >= plaintext.count + tagCount, "no room for the tag")
        Sodium.prepare()
        // Fails only for lengths beyond 256 GiB.
        _ = unsafe crypto_aead_xchacha20poly1305_ietf_encrypt(
            destination.bytePointer, nil, plaintext.bytePointer, UInt64(plaintext.count),
            associated.bytePointer, UInt64(associated.count), nil, nonce.bytePointer,
            key.bytePointer)
    }

    /// Checks the tag and decrypts.
    /// - Parameter nonce: 24 bytes.
    /// - Parameter destination: At least `ciphertext.count - 16` bytes.
    /// - Returns: `false` for a ciphertext that is too short or not authentic; the destination
    ///   then holds nothing of the plaintext.
    ///
    /// `crypto_aead_xchacha20poly1305_ietf_decrypt`
    public static func open(
        key: borrowing Secret32, nonce: ByteRegion, ciphertext: ByteRegion, associated: ByteRegion,
        into destination: ByteRegion
    ) -> Bool {
        precondition(nonce.count == nonceCount, "the nonce is 24 bytes long")
        guard ciphertext.count >= tagCount else { return false }
        precondition(destination.count >= ciphertext.count - tagCount, "no room for the plaintext")
        Sodium.prepare()
        return unsafe crypto_aead_xchacha20poly1305_ietf_decrypt(
            destination.bytePointer, nil, nil, ciphertext.bytePointer, UInt64(ciphertext.count),
            associated.bytePointer, UInt64(associated.count), nonce.bytePointer,
            key.bytePointer) == 0
    }
}
