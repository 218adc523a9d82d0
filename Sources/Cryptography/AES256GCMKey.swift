import CSodium
import PacketMemory
import Synchronization

/// An AES-256 key in the expanded form that one kind of ``PacketCipher`` works with.
///
/// Any thread's cipher of the same implementation may use it. Wiped at the end.
public final class AES256GCMKey: Sendable {
    let isForMultiBuffer: Bool
    private let arena: ByteArena

    init(isForMultiBuffer: Bool, expandedCount: Int) {
        self.isForMultiBuffer = isForMultiBuffer
        arena = ByteArena(count: expandedCount)
    }

    deinit {
        unsafe sodium_memzero(arena.whole.unsafeStart, arena.whole.count)
    }

    /// Round keys and the powers of the hash key, in the library's own layout.
    @inline(__always)
    var expanded: ByteRegion { arena.whole }

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
