import CSodium
public import PacketMemory

/// An X25519 private key, clamped, with its public key.
///
/// Source: RFC 7748, section 5.
public final class PrivateKey: Sendable {
    private let secret: Secret32
    public let publicKey: PublicKey

    public static func generate() -> PrivateKey {
        PrivateKey(clamping: .random())
    }

    /// - Returns: `nil` unless `bytes` are exactly 32.
    public convenience init?(bytes: [UInt8]) {
        guard let secret = Secret32(copying: bytes) else { return nil }
        self.init(clamping: secret)
    }

    /// - Parameter text: 44 characters of padded standard base64; anything else gives `nil`.
    ///   The caller wipes its own copy.
    public convenience init?(base64 text: some Collection<UInt8>) {
        var secret = Secret32()
        guard secret.withMutableBytes({ KeyText.decode(base64: text, into: $0) }) else {
            return nil
        }
        self.init(clamping: secret)
    }

    /// - Parameter text: 64 hexadecimal digits; anything else gives `nil`.
    ///   The caller wipes its own copy.
    public convenience init?(hex text: some Collection<UInt8>) {
        var secret = Secret32()
        guard secret.withMutableBytes({ KeyText.decode(hex: text, into: $0) }) else {
            return nil
        }
        self.init(clamping: secret)
    }

    /// Takes over any 32 bytes and sets the bits that X25519 fixes.
    ///
    /// `crypto_scalarmult_base`
    public init(clamping secret: consuming Secret32) {
        Sodium.prepare()
        secret.withMutableBytes { bytes in
            bytes[0] &= 0b1111_1000
            bytes[31] = bytes[31] & 0b0111_1111 | 0b0100_0000
        }
        var point = Bytes32()
        point.withMutableBytes { point in
            secret.withBytes { scalar in
                // Multiplying the base point cannot fail.
                _ = unsafe crypto_scalarmult_base(
                    point.bytePointer,
                    scalar.bytePointer)
            }
        }
        publicKey = point.withBytes { PublicKey(copying: $0) }
        self.secret = secret
    }

    /// Diffie-Hellman with another's public key. About 30 µs. `crypto_scalarmult`
    ///
    /// - Returns: `false`, and a zero `result`, where the shared secret would be all zero: the
    ///   other key is a point of low order and contributes nothing.
    ///
    /// Source: RFC 7748, sections 5 and 6.1.
    public func sharedSecret(with publicKey: PublicKey, into result: inout Secret32) -> Bool {
        let status = result.withMutableBytes { shared in
            secret.withBytes { scalar in
                publicKey.withBytes { point in
                    unsafe crypto_scalarmult(
                        shared.bytePointer,
                        scalar.bytePointer,
                        point.bytePointer)
                }
            }
        }
        if status == 0 && !result.isZero { return true }
        result.wipe()
        return false
    }

    /// Compares in constant time.
    public func isEqual(to other: PrivateKey) -> Bool { secret.isEqual(to: other.secret) }

    /// Lends the bytes of the key, as a handover to another process needs them.
    public func unsafeWithBytes<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try secret.withBytes(body)
    }

    /// Reveals the key in base64, as configuration files and `genkey` must; the caller wipes it.
    public func unsafeAppendBase64(to text: inout [UInt8]) {
        secret.withBytes { KeyText.append(base64: $0, to: &text) }
    }

    /// Reveals the key in hexadecimal, as the configuration protocol must; the caller wipes it.
    public func unsafeAppendHex(to text: inout [UInt8]) {
        secret.withBytes { KeyText.append(hex: $0, to: &text) }
    }
}
