public import PacketMemory

/// An X25519 public key; names a peer.
public struct PublicKey: Hashable, Comparable, Sendable {
    public static var count: Int { 32 }

    private var storage: Bytes32

    /// - Returns: `nil` unless `bytes` are exactly 32.
    public init?(bytes: [UInt8]) {
        guard let storage = Bytes32(bytes) else { return nil }
        self.storage = storage
    }

    /// - Parameter region: Exactly 32 bytes.
    public init(copying region: ByteRegion) { storage = Bytes32(copying: region) }

    /// - Parameter text: 44 characters of padded standard base64; anything else gives `nil`.
    public init?(base64 text: String) {
        storage = Bytes32()
        guard storage.withMutableBytes({ KeyText.decode(base64: text.utf8, into: $0) }) else {
            return nil
        }
    }

    /// - Parameter text: 64 hexadecimal digits; anything else gives `nil`.
    public init?(hex text: String) {
        storage = Bytes32()
        guard storage.withMutableBytes({ KeyText.decode(hex: text.utf8, into: $0) }) else {
            return nil
        }
    }

    public var bytes: [UInt8] { withBytes { $0.bytes } }

    public var base64: String {
        var text: [UInt8] = []
        withBytes { KeyText.append(base64: $0, to: &text) }
        return String(decoding: text, as: UTF8.self)
    }

    public var hex: String {
        var text: [UInt8] = []
        withBytes { KeyText.append(hex: $0, to: &text) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Lends the bytes for reading; the region ends with `body`.
    public func withBytes<Result>(_ body: (ByteRegion) throws -> Result) rethrows -> Result {
        try storage.withBytes(body)
    }

    /// Orders as the byte strings do.
    public static func < (first: PublicKey, second: PublicKey) -> Bool {
        Bytes32.precedes(first.storage, second.storage)
    }
}

extension PublicKey: CustomStringConvertible {
    public var description: String { base64 }
}
