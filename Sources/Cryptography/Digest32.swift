public import PacketMemory

/// A 32-byte hash of public data, such as the running hash `h` of a handshake.
public struct Digest32: Hashable, Sendable {
    private var storage: Bytes32

    /// All zero.
    public init() { storage = Bytes32() }

    /// - Parameter region: Exactly 32 bytes.
    public init(copying region: ByteRegion) { storage = Bytes32(copying: region) }

    public var bytes: [UInt8] { withBytes { $0.bytes } }

    /// Lends the bytes for reading; the region ends with `body`.
    public func withBytes<Result>(_ body: (ByteRegion) throws -> Result) rethrows -> Result {
        try storage.withBytes(body)
    }

    /// Lends the bytes for reading and writing; the region ends with `body`.
    public mutating func withMutableBytes<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try storage.withMutableBytes(body)
    }
}
