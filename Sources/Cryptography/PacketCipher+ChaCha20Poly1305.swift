import CSodium
public import PacketMemory

extension PacketCipher {
    /// Encrypts a packet and appends the tag; without associated data.
    ///
    /// The nonce is 4 zero bytes and the little-endian counter. A counter is used once with a key.
    /// - Parameter destination: At least 16 bytes longer than `plaintext`.
    ///
    /// Source: RFC 8439, section 2.8; WireGuard paper, section 5.4.6.
    public func sealChaCha20Poly1305(
        key: borrowing Secret32, counter: UInt64, plaintext: ByteRegion,
        into destination: ByteRegion
    ) {
        #if BRANCHLINE_NULL_CIPHER
        destination.copy(from: plaintext)
        destination.region(at: plaintext.count, count: PacketCipher.tagCount).fill(with: 0)
        #else
        sealChaCha20Poly1305(
            key: key, nonce: littleEndianNonce(counter), associated: plaintext.prefix(0),
            plaintext: plaintext, into: destination)
        #endif
    }

    /// Checks the tag of a packet in constant time and decrypts it.
    ///
    /// - Parameter input: Ciphertext and tag; less than 16 bytes are not authentic.
    /// - Parameter destination: At least `input.count - 16` bytes.
    /// - Returns: `false` if the packet is not authentic; its part of the destination is then zero.
    public func openChaCha20Poly1305(
        key: borrowing Secret32, counter: UInt64, input: ByteRegion, into destination: ByteRegion
    ) -> Bool {
        #if BRANCHLINE_NULL_CIPHER
        guard input.count >= PacketCipher.tagCount else { return false }
        destination.copy(from: input.prefix(input.count - PacketCipher.tagCount))
        return true
        #else
        return openChaCha20Poly1305(
            key: key, nonce: littleEndianNonce(counter), associated: input.prefix(0),
            input: input, into: destination)
        #endif
    }

    /// The general form, with any 12-byte nonce and associated data.
    ///
    /// `IMB_SUBMIT_JOB_NOCHECK`, `crypto_aead_chacha20poly1305_ietf_encrypt_detached`
    package func sealChaCha20Poly1305(
        key: borrowing Secret32, nonce: ByteRegion, associated: ByteRegion,
        plaintext: ByteRegion, into destination: ByteRegion
    ) {
        precondition(nonce.count == 12, "the nonce is 12 bytes long")
        let output = destination.prefix(plaintext.count)
        let tag = destination.region(at: plaintext.count, count: PacketCipher.tagCount)
        #if arch(x86_64)
        if let multiBuffer {
            return multiBuffer.sealChaCha20Poly1305(
                key: key, nonce: nonce, associated: associated, input: plaintext, output: output,
                tag: tag)
        }
        #endif
        // Fails only for lengths beyond 256 GiB.
        _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt_detached(
            output.bytePointer, tag.bytePointer, nil, plaintext.bytePointer,
            UInt64(plaintext.count), associated.bytePointer, UInt64(associated.count), nil,
            nonce.bytePointer, key.bytePointer)
    }

    /// The general form, with any 12-byte nonce and associated data.
    ///
    /// `IMB_SUBMIT_JOB_NOCHECK`, `crypto_aead_chacha20poly1305_ietf_decrypt_detached`
    package func openChaCha20Poly1305(
        key: borrowing Secret32, nonce: ByteRegion, associated: ByteRegion, input: ByteRegion,
        into destination: ByteRegion
    ) -> Bool {
        precondition(nonce.count == 12, "the nonce is 12 bytes long")
        guard let (ciphertext, tag, output) = split(input, destination) else { return false }
        #if arch(x86_64)
        if let multiBuffer {
            let isAuthentic = multiBuffer.openChaCha20Poly1305(
                key: key, nonce: nonce, associated: associated, input: ciphertext, tag: tag,
                output: output)
            if !isAuthentic { output.fill(with: 0) }
            return isAuthentic
        }
        #endif
        return unsafe crypto_aead_chacha20poly1305_ietf_decrypt_detached(
            output.bytePointer, nil, ciphertext.bytePointer, UInt64(ciphertext.count),
            tag.bytePointer, associated.bytePointer, UInt64(associated.count), nonce.bytePointer,
            key.bytePointer) == 0
    }
}
