/// An Ed25519 signature, not yet checked.
public struct Signature: Hashable, Sendable {
    public static var count: Int { 64 }

    public let bytes: [UInt8]

    /// - Returns: `nil` unless `bytes` are exactly 64.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Signature.count else { return nil }
        self.bytes = bytes
    }
}
