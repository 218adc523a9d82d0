public import Cryptography

/// The public half of a new admin's key, to be handed to whoever has the root key.
///
/// `bla1~KEY~SIGNATURE`: the key signs itself, so that a slip in copying shows.
public struct AdminRequest: Hashable, Sendable {
    public let key: VerifyingKey

    public init?(parsing text: String) {
        let parts = text.split(separator: "~", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Self.prefix,
            let key = VerifyingKey(base64URL: String(parts[1])),
            let bytes = Base64URL.decode(String(parts[2])), let signature = Signature(bytes: bytes),
            key.isValid(signature, for: Self.message(key))
        else { return nil }
        self.key = key
    }

    public static func text(of key: borrowing SigningKey) -> String {
        let signature = key.sign(message(key.verifyingKey))
        return "\(prefix)~\(key.verifyingKey)~\(Base64URL.encode(signature.bytes))"
    }

    /// Unlike any statement: those are two parts of base64url with a point between.
    private static func message(_ key: VerifyingKey) -> [UInt8] {
        Array("branchline admin request \(key)".utf8)
    }

    private static var prefix: String { "bla1" }
}
