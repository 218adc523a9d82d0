import CSodium
public import PacketMemory

/// The AEADs of handshake messages, by Noise's names.
public enum HandshakeCipher: String, CaseIterable, Sendable {
    /// ChaCha20-Poly1305.
    case chaChaPoly = "ChaChaPoly"
    /// AES-256-GCM.
    case aesGCM = "AESGCM"

    /// Whether this machine can compute it, for handshakes and for packets.
    public var isAvailable: Bool {
        switch self {
        case .chaChaPoly: true
        case .aesGCM: Self.hasAES
        }
    }

    private static let hasAES: Bool = {
        Sodium.prepare()
        return crypto_aead_aes256gcm_is_available() == 1 && AES256GCMKey.expand(Secret32()) != nil
    }()
}

/// Encryption of the fields of handshake messages.
///
/// The nonce is 4 zero bytes and the counter, as each cipher has it in Noise: ChaChaPoly's
/// little-endian, AESGCM's big-endian. Source and destination of a call are the same bytes or do
/// not overlap.
///
/// Source: RFC 8439, section 2.8; NIST SP 800-38D; Noise, revision 34, sections 12.3 and 12.4;
/// WireGuard paper, section 5.4.
public enum HandshakeAEAD {
    public static var tagCount: Int { 16 }

    /// Encrypts `plaintext` and appends the tag.
    /// - Parameters:
    ///   - cipher: One that is available.
    ///   - destination: At least 16 bytes longer than `plaintext`.
    ///
    /// `crypto_aead_chacha20poly1305_ietf_encrypt`, `crypto_aead_aes256gcm_encrypt`
    public static func seal(
        _ cipher: HandshakeCipher = .chaChaPoly, key: borrowing Secret32, counter: UInt64,
        plaintext: ByteRegion, associated: Digest32, into destination: ByteRegion
    ) {
        precondition(destination.count >= plaintext.count + tagCount, "no room for the tag")
        precondition(cipher.isAvailable, "this machine does not have the cipher")
        Sodium.prepare()
        withNonce(cipher, counter) { nonce in
            associated.withBytes { associated in
                // Fails only for lengths beyond 64 GiB.
                switch cipher {
                case .chaChaPoly:
                    _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
                        destination.bytePointer, nil, plaintext.bytePointer,
                        UInt64(plaintext.count), associated.bytePointer,
                        UInt64(associated.count), nil, nonce.bytePointer, key.bytePointer)
                case .aesGCM:
                    _ = unsafe crypto_aead_aes256gcm_encrypt(
                        destination.bytePointer, nil, plaintext.bytePointer,
                        UInt64(plaintext.count), associated.bytePointer,
                        UInt64(associated.count), nil, nonce.bytePointer, key.bytePointer)
                }
            }
        }
    }

    /// Checks the tag and decrypts.
    /// - Parameters:
    ///   - cipher: One that is available.
    ///   - destination: At least `ciphertext.count - 16` bytes.
    /// - Returns: `false` for a ciphertext that is too short or not authentic; the destination
    ///   then holds nothing of the plaintext.
    ///
    /// `crypto_aead_chacha20poly1305_ietf_decrypt`, `crypto_aead_aes256gcm_decrypt`
    public static func open(
        _ cipher: HandshakeCipher = .chaChaPoly, key: borrowing Secret32, counter: UInt64,
        ciphertext: ByteRegion, associated: Digest32, into destination: ByteRegion
    ) -> Bool {
        guard ciphertext.count >= tagCount else { return false }
        precondition(destination.count >= ciphertext.count - tagCount, "no room for the plaintext")
        precondition(cipher.isAvailable, "this machine does not have the cipher")
        Sodium.prepare()
        let status = withNonce(cipher, counter) { nonce in
            associated.withBytes { associated in
                switch cipher {
                case .chaChaPoly:
                    unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
                        destination.bytePointer, nil, nil, ciphertext.bytePointer,
                        UInt64(ciphertext.count), associated.bytePointer,
                        UInt64(associated.count), nonce.bytePointer, key.bytePointer)
                case .aesGCM:
                    unsafe crypto_aead_aes256gcm_decrypt(
                        destination.bytePointer, nil, nil, ciphertext.bytePointer,
                        UInt64(ciphertext.count), associated.bytePointer,
                        UInt64(associated.count), nonce.bytePointer, key.bytePointer)
                }
            }
        }
        return status == 0
    }

    @inline(__always)
    private static func withNonce<Result>(
        _ cipher: HandshakeCipher, _ counter: UInt64, _ body: (ByteRegion) -> Result
    ) -> Result {
        var words = (UInt32(0), UInt32(0), UInt32(0))
        return unsafe withUnsafeMutableBytes(of: &words) { buffer in
            guard let start = buffer.baseAddress else { preconditionFailure("no storage") }
            let nonce = unsafe ByteRegion(start: start, count: 12)
            switch cipher {
            case .chaChaPoly: nonce.storeLittleEndian(counter, at: 4)
            case .aesGCM: nonce.storeBigEndian(counter, at: 4)
            }
            return body(nonce)
        }
    }
}
