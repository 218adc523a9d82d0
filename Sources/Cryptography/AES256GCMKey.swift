import CSodium
import PacketMemory

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
}
