import PacketMemory
import Synchronization

/// An AES-256 key in the expanded form that one kind of ``PacketCipher`` works with.
///
/// Any thread's cipher of the same implementation may use it. In locked memory, and wiped at the
/// end.
@safe
public final class AES256GCMKey: @unchecked Sendable {
    // Sendable: the bytes are written before anybody else has the key.
    let isForMultiBuffer: Bool
    private let start: UnsafeMutableRawPointer
    private let count: Int

    init(isForMultiBuffer: Bool, expandedCount: Int) {
        self.isForMultiBuffer = isForMultiBuffer
        unsafe start = LockedMemory.allocate(byteCount: expandedCount)
        count = expandedCount
    }

    deinit {
        unsafe LockedMemory.free(start, byteCount: count)
    }

    /// Round keys and the powers of the hash key, in the library's own layout.
    @inline(__always)
    var expanded: ByteRegion { unsafe ByteRegion(start: start, count: count) }

    /// Reads from the part that every packet needs, so that it is fetched from memory.
    ///
    /// - Returns: A number without a meaning, and of no use to whoever might see it.
    @inline(__always)
    public func fetch() -> UInt32 { expanded.littleEndian32(at: 0) & 1 }
}

extension AES256GCMKey {
    /// Expands a key for the ciphers that ``PacketCipher/init(_:)`` makes where nobody asks for
    /// another kind, on whichever thread.
    ///
    /// - Returns: `nil` where neither library has AES-256-GCM for this CPU.
    public static func expand(_ key: borrowing Secret32) -> AES256GCMKey? {
        expander.withLock { $0.expandAES256GCM(key) }
    }

    /// Expanding takes functions of the library, and no state.
    private static let expander = Mutex(PacketCipher())
}
