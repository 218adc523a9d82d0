/// SipHash-1-3 over whole words: nobody without the key can choose flows that collide.
///
/// Source: Aumasson and Bernstein, SipHash: a fast short-input PRF; one compression and three
/// finalisation rounds, as hash tables of Rust, Ruby and Swift use it.
@frozen
public struct SipHash {
    @usableFromInline var v0: UInt64
    @usableFromInline var v1: UInt64
    @usableFromInline var v2: UInt64
    @usableFromInline var v3: UInt64
    @usableFromInline var count: UInt64 = 0

    @inlinable @inline(__always)
    public init(_ key: (UInt64, UInt64)) {
        v0 = key.0 ^ 0x736f_6d65_7073_6575
        v1 = key.1 ^ 0x646f_7261_6e64_6f6d
        v2 = key.0 ^ 0x6c79_6765_6e65_7261
        v3 = key.1 ^ 0x7465_6462_7974_6573
    }

    @inlinable @inline(__always)
    public mutating func add(_ word: UInt64) {
        count &+= 8
        v3 ^= word
        round()
        v0 ^= word
    }

    @inlinable @inline(__always)
    public mutating func finish() -> UInt64 {
        add(count << 56)
        v2 ^= 0xff
        round()
        round()
        round()
        return v0 ^ v1 ^ v2 ^ v3
    }

    @inlinable @inline(__always)
    mutating func round() {
        v0 = v0 &+ v1
        v1 = Self.rotated(v1, 13) ^ v0
        v0 = Self.rotated(v0, 32)
        v2 = v2 &+ v3
        v3 = Self.rotated(v3, 16) ^ v2
        v0 = v0 &+ v3
        v3 = Self.rotated(v3, 21) ^ v0
        v2 = v2 &+ v1
        v1 = Self.rotated(v1, 17) ^ v2
        v2 = Self.rotated(v2, 32)
    }

    @inlinable @inline(__always)
    static func rotated(_ word: UInt64, _ count: UInt64) -> UInt64 {
        word &<< count | word &>> (64 &- count)
    }
}
