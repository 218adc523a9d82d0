/// A borrowed run of mutable bytes: where a packet lies, and how long it is.
///
/// A region owns nothing. Whoever makes one (a ``ByteArena``, or a `withUnsafe…` closure) keeps the
/// memory alive for as long as any copy of the region is used. Every access is checked against
/// `count` and traps outside of it: parsers compare lengths first and never reach that trap.
///
/// Its layout is that of C's `struct iovec`.
@frozen
@safe
public struct ByteRegion: @unchecked Sendable {
    // Sendable: a region is handed to one thread at a time together with the bytes it names.
    @usableFromInline let base: UnsafeMutableRawPointer
    /// Length in bytes.
    public let count: Int

    /// - Parameter start: First byte; stays valid and unshared while the region is in use.
    @unsafe @inlinable @inline(__always)
    public init(start: UnsafeMutableRawPointer, count: Int) {
        unsafe base = start
        self.count = count
    }

    /// The first byte, for system calls and cipher libraries that want an address.
    @unsafe @inlinable @inline(__always)
    public var unsafeStart: UnsafeMutableRawPointer { unsafe base }

    @inlinable @inline(__always)
    public subscript(offset: Int) -> UInt8 {
        get {
            check(offset, 1)
            return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
        }
        nonmutating set {
            check(offset, 1)
            unsafe base.storeBytes(of: newValue, toByteOffset: offset, as: UInt8.self)
        }
    }

    /// The part that begins at `offset` and is `count` bytes long.
    @inlinable @inline(__always)
    public func region(at offset: Int, count: Int) -> ByteRegion {
        check(offset, count)
        return unsafe ByteRegion(start: base + offset, count: count)
    }

    /// Everything from `offset` to the end.
    @inlinable @inline(__always)
    public func region(from offset: Int) -> ByteRegion {
        region(at: offset, count: count &- offset)
    }

    /// Everything before `count` bytes.
    @inlinable @inline(__always)
    public func prefix(_ count: Int) -> ByteRegion {
        region(at: 0, count: count)
    }

    /// Copies all of `other` to `offset`; the two may overlap.
    @inlinable @inline(__always)
    public func copy(from other: ByteRegion, to offset: Int = 0) {
        check(offset, other.count)
        unsafe (base + offset).copyMemory(from: other.base, byteCount: other.count)
    }

    @inlinable @inline(__always)
    public func fill(with byte: UInt8) {
        unsafe base.initializeMemory(as: UInt8.self, repeating: byte, count: count)
    }

    @inlinable @inline(__always)
    func check(_ offset: Int, _ length: Int) {
        precondition(
            offset >= 0 && length >= 0 && offset &+ length <= count && offset &+ length >= 0,
            "byte region accessed outside its bounds")
    }
}

extension ByteRegion {
    @inlinable @inline(__always)
    func load<Word: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> Word {
        check(offset, MemoryLayout<Word>.size)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: Word.self)
    }

    @inlinable @inline(__always)
    func store<Word: FixedWidthInteger & BitwiseCopyable>(
        _ word: Word, _ offset: Int
    ) {
        check(offset, MemoryLayout<Word>.size)
        unsafe base.storeBytes(of: word, toByteOffset: offset, as: Word.self)
    }

    @inlinable @inline(__always)
    public func bigEndian16(at offset: Int) -> UInt16 { UInt16(bigEndian: load(offset)) }
    @inlinable @inline(__always)
    public func bigEndian32(at offset: Int) -> UInt32 { UInt32(bigEndian: load(offset)) }
    @inlinable @inline(__always)
    public func bigEndian64(at offset: Int) -> UInt64 { UInt64(bigEndian: load(offset)) }
    @inlinable @inline(__always)
    public func littleEndian16(at offset: Int) -> UInt16 { UInt16(littleEndian: load(offset)) }
    @inlinable @inline(__always)
    public func littleEndian32(at offset: Int) -> UInt32 { UInt32(littleEndian: load(offset)) }
    @inlinable @inline(__always)
    public func littleEndian64(at offset: Int) -> UInt64 { UInt64(littleEndian: load(offset)) }

    @inlinable @inline(__always)
    public func storeBigEndian(_ value: UInt16, at offset: Int) { store(value.bigEndian, offset) }
    @inlinable @inline(__always)
    public func storeBigEndian(_ value: UInt32, at offset: Int) { store(value.bigEndian, offset) }
    @inlinable @inline(__always)
    public func storeBigEndian(_ value: UInt64, at offset: Int) { store(value.bigEndian, offset) }
    @inlinable @inline(__always)
    public func storeLittleEndian(_ value: UInt16, at offset: Int) {
        store(value.littleEndian, offset)
    }
    @inlinable @inline(__always)
    public func storeLittleEndian(_ value: UInt32, at offset: Int) {
        store(value.littleEndian, offset)
    }
    @inlinable @inline(__always)
    public func storeLittleEndian(_ value: UInt64, at offset: Int) {
        store(value.littleEndian, offset)
    }
}

extension ByteRegion {
    /// A copy of the bytes. Allocates: for control paths and tests.
    public var bytes: [UInt8] { (0..<count).map { self[$0] } }
}
