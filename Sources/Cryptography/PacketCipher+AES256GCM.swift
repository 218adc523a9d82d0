import CSodium
public import PacketMemory

extension PacketCipher {
    /// Expands a key for ciphers of this implementation; takes about 120 ns.
    ///
    /// - Returns: `nil` where neither library has AES-256-GCM for this CPU.
    public func expandAES256GCM(_ key: borrowing Secret32) -> AES256GCMKey? {
        #if arch(x86_64)
        if let multiBuffer {
            let expanded = AES256GCMKey(
                isForMultiBuffer: true, expandedCount: MultiBuffer.expandedKeyCount)
            multiBuffer.expand(key, into: expanded.expanded)
            return expanded
        }
        #endif
        guard crypto_aead_aes256gcm_is_available() == 1 else { return nil }
        let expanded = AES256GCMKey(
            isForMultiBuffer: false, expandedCount: MemoryLayout<SodiumState>.size)
        _ = unsafe crypto_aead_aes256gcm_beforenm(sodiumState(expanded), key.bytePointer)
        return expanded
    }

    /// Encrypts a packet and appends the tag; without associated data.
    ///
    /// The nonce is 4 zero bytes and the big-endian counter. A counter is used once with a key.
    /// - Parameter destination: At least 16 bytes longer than `plaintext`.
    ///
    /// Source: NIST SP 800-38D; Noise, revision 34, section 12.4.
    public func sealAES256GCM(
        key: AES256GCMKey, counter: UInt64, plaintext: ByteRegion, into destination: ByteRegion
    ) {
        sealAES256GCM(
            key: key, nonce: bigEndianNonce(counter), associated: plaintext.prefix(0),
            plaintext: plaintext, into: destination)
    }

    /// Checks the tag of a packet in constant time and decrypts it.
    ///
    /// - Parameter input: Ciphertext and tag; less than 16 bytes are not authentic.
    /// - Parameter destination: At least `input.count - 16` bytes.
    /// - Returns: `false` if the packet is not authentic; its part of the destination is then zero.
    public func openAES256GCM(
        key: AES256GCMKey, counter: UInt64, input: ByteRegion, into destination: ByteRegion
    ) -> Bool {
        openAES256GCM(
            key: key, nonce: bigEndianNonce(counter), associated: input.prefix(0), input: input,
            into: destination)
    }

    /// The general form, with any 12-byte nonce and associated data.
    ///
    /// `IMB_AES256_GCM_ENC`, `crypto_aead_aes256gcm_encrypt_detached_afternm`
    package func sealAES256GCM(
        key: AES256GCMKey, nonce: ByteRegion, associated: ByteRegion, plaintext: ByteRegion,
        into destination: ByteRegion
    ) {
        precondition(nonce.count == 12, "the nonce is 12 bytes long")
        let output = destination.prefix(plaintext.count)
        let tag = destination.region(at: plaintext.count, count: PacketCipher.tagCount)
        #if arch(x86_64)
        if let multiBuffer {
            precondition(key.isForMultiBuffer, "the key was expanded for another implementation")
            return multiBuffer.sealAES256GCM(
                key: key.expanded, nonce: nonce, associated: associated, input: plaintext,
                output: output, tag: tag)
        }
        #endif
        precondition(!key.isForMultiBuffer, "the key was expanded for another implementation")
        // Fails only for lengths beyond 64 GiB.
        _ = unsafe crypto_aead_aes256gcm_encrypt_detached_afternm(
            output.bytePointer, tag.bytePointer, nil, plaintext.bytePointer,
            UInt64(plaintext.count), associated.bytePointer, UInt64(associated.count), nil,
            nonce.bytePointer, sodiumState(key))
    }

    /// The general form, with any 12-byte nonce and associated data.
    ///
    /// `IMB_AES256_GCM_DEC`, `crypto_aead_aes256gcm_decrypt_detached_afternm`
    package func openAES256GCM(
        key: AES256GCMKey, nonce: ByteRegion, associated: ByteRegion, input: ByteRegion,
        into destination: ByteRegion
    ) -> Bool {
        precondition(nonce.count == 12, "the nonce is 12 bytes long")
        guard let (ciphertext, tag, output) = split(input, destination) else { return false }
        #if arch(x86_64)
        if let multiBuffer {
            precondition(key.isForMultiBuffer, "the key was expanded for another implementation")
            let isAuthentic = multiBuffer.openAES256GCM(
                key: key.expanded, nonce: nonce, associated: associated, input: ciphertext,
                tag: tag, output: output)
            if !isAuthentic { output.fill(with: 0) }
            return isAuthentic
        }
        #endif
        precondition(!key.isForMultiBuffer, "the key was expanded for another implementation")
        return unsafe crypto_aead_aes256gcm_decrypt_detached_afternm(
            output.bytePointer, nil, ciphertext.bytePointer, UInt64(ciphertext.count),
            tag.bytePointer, associated.bytePointer, UInt64(associated.count), nonce.bytePointer,
            sodiumState(key)) == 0
    }

    private typealias SodiumState = crypto_aead_aes256gcm_state_

    @inline(__always)
    private func sodiumState(_ key: AES256GCMKey) -> UnsafeMutablePointer<SodiumState> {
        unsafe key.expanded.unsafeStart.assumingMemoryBound(to: SodiumState.self)
    }
}
