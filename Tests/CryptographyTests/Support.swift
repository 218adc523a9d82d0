import Cryptography
import PacketMemory
import TestSupport

extension Secret32 {
    /// - Parameter bytes: Exactly 32.
    init(bytes: [UInt8]) {
        let arena = ByteArena(bytes)
        self.init(copying: arena.whole)
        withExtendedLifetime(arena) {}
    }

    borrowing func copyOfBytes() -> [UInt8] { withBytes { $0.bytes } }
}
