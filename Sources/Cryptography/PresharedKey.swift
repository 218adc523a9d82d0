public import PacketMemory

/// A symmetric key that two peers mix into their handshakes; all zero means none.
///
/// Source: WireGuard paper, section 5.2.
public final class PresharedKey: Sendable {
    private let secret: Secret32

    public static func generate() -> PresharedKey {
        PresharedKey(.random())
    }

    public init(_ secret: consuming Secret32) {
        self.secret = secret
    }

    /// - Returns: `nil` unless `bytes` are exactly 32.
    public convenience init?(bytes: [UInt8]) {
        guard let secret = Secret32(copying: bytes) else { return nil }
        self.init(secret)
    }

    /// - Parameter text: 44 characters of padded standard base64; anything else gives `nil`.
    ///   The caller wipes its own copy.
    public convenience init?(base64 text: some Collection<UInt8>) {
        var secret = Secret32()
        guard secret.withMutableBytes({ KeyText.decode(base64: text, into: $0) }) else {
            return nil
        }
        self.init(secret)
    }

    /// - Parameter text: 64 hexadecimal digits; anything else gives `nil`.
    ///   The caller wipes its own copy.
    public convenience init?(hex text: some Collection<UInt8>) {
        var secret = Secret32()
        guard secret.withMutableBytes({ KeyText.decode(hex: text, into: $0) }) else {
            return nil
        }
        self.init(secret)
    }

    /// Whether this stands for no key; takes constant time.
    public var isZero: Bool { secret.isZero }

    /// Compares in constant time.
    public func isEqual(to other: PresharedKey) -> Bool { secret.isEqual(to: other.secret) }

    /// Lends the bytes for reading; the region ends with `body`.
    public func withBytes<Result>(_ body: (ByteRegion) throws -> Result) rethrows -> Result {
        try secret.withBytes(body)
    }

    /// Reveals the key in base64, as configuration files and `genpsk` must; the caller wipes it.
    public func unsafeAppendBase64(to text: inout [UInt8]) {
        secret.withBytes { KeyText.append(base64: $0, to: &text) }
    }

    /// Reveals the key in hexadecimal, as the configuration protocol must; the caller wipes it.
    public func unsafeAppendHex(to text: inout [UInt8]) {
        secret.withBytes { KeyText.append(hex: $0, to: &text) }
    }
}
