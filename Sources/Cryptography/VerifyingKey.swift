import CSodium
public import PacketMemory

/// An Ed25519 public key; names whoever signs with its other half.
///
/// Source: RFC 8032, section 5.1.
public struct VerifyingKey: Hashable, Comparable, Sendable {
    public static var count: Int { 32 }

    private var storage: Bytes32

    /// - Returns: `nil` unless `bytes` are exactly 32.
    public init?(bytes: [UInt8]) {
        guard let storage = Bytes32(bytes) else { return nil }
        self.storage = storage
    }

    /// - Parameter region: Exactly 32 bytes.
    public init(copying region: ByteRegion) { storage = Bytes32(copying: region) }

    /// - Parameter text: 43 characters of unpadded URL-safe base64; anything else gives `nil`.
    public init?(base64URL text: String) {
        guard text.utf8.count == VerifyingKey.base64URLCount, let bytes = Base64URL.decode(text)
        else { return nil }
        self.init(bytes: bytes)
    }

    public var bytes: [UInt8] { withBytes { $0.bytes } }

    /// 43 characters, as the `x` of a JSON Web Key. RFC 8037, section 2.
    public var base64URL: String { withBytes { Base64URL.encode($0) } }

    /// Whether the other half of this key signed exactly `message`.
    ///
    /// Refuses scalars that are not reduced, and keys and nonces that are points of low order or
    /// not canonical. About 60 µs. `crypto_sign_verify_detached`
    ///
    /// Source: RFC 8032, section 5.1.7.
    public func isValid(_ signature: Signature, for message: [UInt8]) -> Bool {
        Sodium.prepare()
        return withBytes { key in
            unsafe signature.bytes.withUnsafeBufferPointer { signature in
                unsafe message.withUnsafeBufferPointer { message in
                    guard let signature = signature.baseAddress else { return false }
                    return unsafe crypto_sign_verify_detached(
                        signature, message.baseAddress, UInt64(message.count), key.bytePointer) == 0
                }
            }
        }
    }

    /// Lends the bytes for reading; the region ends with `body`.
    public func withBytes<Result>(_ body: (ByteRegion) throws -> Result) rethrows -> Result {
        try storage.withBytes(body)
    }

    /// Orders as the byte strings do.
    public static func < (first: VerifyingKey, second: VerifyingKey) -> Bool {
        Bytes32.precedes(first.storage, second.storage)
    }

    /// 32 bytes in base64 without padding.
    static let base64URLCount = 43
}

extension VerifyingKey: CustomStringConvertible {
    public var description: String { base64URL }
}
