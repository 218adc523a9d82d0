import Cryptography

/// Names an enrolment token: 16 random bytes.
public struct TokenID: Hashable, Sendable {
    public static var count: Int { 16 }

    public let bytes: [UInt8]

    public init?(bytes: [UInt8]) {
        guard bytes.count == TokenID.count else { return nil }
        self.bytes = bytes
    }

    /// - Parameter text: 22 characters of unpadded URL-safe base64.
    public init?(base64URL text: String) {
        guard let bytes = Base64URL.decode(text) else { return nil }
        self.init(bytes: bytes)
    }

    public var base64URL: String { Base64URL.encode(bytes) }
}

extension TokenID: CustomStringConvertible {
    public var description: String { base64URL }
}
