import Cryptography

/// SHA-256 of the coordinator's public key, as its certificate holds it.
///
/// Source: the fingerprint of RFC 7469, section 2.4.
public struct ServerPin: Hashable, Sendable {
    public static var count: Int { 32 }

    public let bytes: [UInt8]

    /// - Returns: `nil` unless `bytes` are exactly 32.
    public init?(bytes: [UInt8]) {
        guard bytes.count == ServerPin.count else { return nil }
        self.bytes = bytes
    }

    public init?(base64URL text: String) {
        guard let bytes = Base64URL.decode(text) else { return nil }
        self.init(bytes: bytes)
    }

    public var base64URL: String { Base64URL.encode(bytes) }
}
