import CSodium
public import PacketMemory

/// An Ed25519 private key, wiped when its owner goes, with its public key.
///
/// Source: RFC 8032, section 5.1.5.
public struct SigningKey: ~Copyable, Sendable {
    private let seed: Secret32
    public let verifyingKey: VerifyingKey

    public static func generate() -> SigningKey { SigningKey(seed: .random()) }

    /// Takes over the 32 bytes from which the key is derived. `crypto_sign_seed_keypair`
    public init(seed: consuming Secret32) {
        Sodium.prepare()
        var point = Bytes32()
        unsafe Self.withExpandedKey { expanded in
            point.withMutableBytes { point in
                seed.withBytes { seed in
                    // Deriving a key cannot fail.
                    _ = unsafe crypto_sign_seed_keypair(
                        point.bytePointer, expanded, seed.bytePointer)
                }
            }
        }
        verifyingKey = point.withBytes { VerifyingKey(copying: $0) }
        self.seed = seed
    }

    public borrowing func clone() -> SigningKey { SigningKey(seed: seed.clone()) }

    /// Signs `message`; the same message always gives the same signature. `crypto_sign_detached`
    ///
    /// Source: RFC 8032, section 5.1.6.
    public borrowing func sign(_ message: [UInt8]) -> Signature {
        var bytes = [UInt8](repeating: 0, count: Signature.count)
        unsafe Self.withExpandedKey { expanded in
            // libsodium wants the seed and, behind it, the public key.
            seed.withBytes { seed in
                unsafe expanded.update(from: seed.bytePointer, count: Secret32.count)
            }
            verifyingKey.withBytes { key in
                unsafe (expanded + Secret32.count).update(
                    from: key.bytePointer, count: VerifyingKey.count)
            }
            unsafe bytes.withUnsafeMutableBufferPointer { signature in
                unsafe message.withUnsafeBufferPointer { message in
                    guard let signature = signature.baseAddress else { return }
                    // Signing cannot fail.
                    _ = unsafe crypto_sign_detached(
                        signature, nil, message.baseAddress, UInt64(message.count), expanded)
                }
            }
        }
        guard let signature = Signature(bytes: bytes) else {
            preconditionFailure("a signature is 64 bytes long")
        }
        return signature
    }

    /// Lends the seed for reading, as a key file must; the region ends with `body`.
    public borrowing func withSeed<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try seed.withBytes(body)
    }

    /// Lends 64 bytes that are wiped afterwards.
    @unsafe
    private static func withExpandedKey(_ body: (UnsafeMutablePointer<UInt8>) -> Void) {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: expandedCount) { buffer in
            guard let start = buffer.baseAddress else { return }
            unsafe buffer.initialize(repeating: 0)
            defer { unsafe sodium_memzero(start, expandedCount) }
            unsafe body(start)
        }
    }

    private static var expandedCount: Int { 64 }
}
