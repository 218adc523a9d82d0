import CSodium
public import PacketMemory

/// 32 secret bytes that are wiped when their owner goes.
///
/// The bytes lie in a block of their own, in locked memory, to which this value is the only
/// reference. Held inline they could not be wiped for certain: the compiler moves a noncopyable
/// struct through registers and stack slots, and hands `deinit` a copy of it.
@frozen
@safe
public struct Secret32: ~Copyable, @unchecked Sendable {
    // Sendable: the block has one owner, and is written only through `mutating` methods.
    public static var count: Int { 32 }

    @usableFromInline let block: UnsafeMutableRawPointer

    /// All zero.
    public init() {
        unsafe block = LockedMemory.allocate(byteCount: Secret32.count)
    }

    /// - Returns: `nil` unless `bytes` are exactly 32. The caller wipes its own copy.
    public init?(copying bytes: [UInt8]) {
        guard bytes.count == Secret32.count else { return nil }
        self.init()
        withMutableBytes { region in
            for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        }
    }

    /// - Parameter region: Exactly 32 bytes.
    public init(copying region: ByteRegion) {
        precondition(region.count == Secret32.count, "a secret is 32 bytes long")
        self.init()
        withMutableBytes { $0.copy(from: region) }
    }

    deinit {
        unsafe LockedMemory.free(block, byteCount: Secret32.count)
    }

    public static func random() -> Secret32 {
        var secret = Secret32()
        secret.withMutableBytes { SecureRandom.fill($0) }
        return secret
    }

    public borrowing func clone() -> Secret32 {
        var other = Secret32()
        other.replace(with: self)
        return other
    }

    /// Overwrites these bytes with those of `other`.
    public mutating func replace(with other: borrowing Secret32) {
        withMutableBytes { target in other.withBytes { target.copy(from: $0) } }
    }

    /// Sets all bytes to zero. `sodium_memzero`
    public mutating func wipe() {
        unsafe sodium_memzero(unsafeStart, Secret32.count)
    }

    /// Compares in constant time.
    public borrowing func isEqual(to other: borrowing Secret32) -> Bool {
        unsafe sodium_memcmp(unsafeStart, other.unsafeStart, Secret32.count) == 0
    }

    /// Whether every byte is zero; takes constant time.
    public var isZero: Bool {
        unsafe sodium_is_zero(
            unsafeStart.assumingMemoryBound(to: UInt8.self), Secret32.count) == 1
    }

    /// Lends the bytes for reading; the region ends with `body`.
    @inlinable @inline(__always)
    public borrowing func withBytes<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try unsafe body(ByteRegion(start: unsafeStart, count: 32))
    }

    /// Lends the bytes for reading and writing; the region ends with `body`.
    @inlinable @inline(__always)
    public mutating func withMutableBytes<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try unsafe body(ByteRegion(start: unsafeStart, count: 32))
    }

    /// Where the bytes are for as long as the secret lives, even when it is moved.
    @unsafe @inlinable @inline(__always)
    var unsafeStart: UnsafeMutableRawPointer { unsafe block }
}
