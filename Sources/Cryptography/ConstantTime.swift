import CSodium
public import PacketMemory

/// Comparisons whose duration does not depend on the bytes compared.
public enum ConstantTime {
    /// Whether both regions hold the same bytes; regions of different size never do.
    ///
    /// The sizes themselves are not secret. `sodium_memcmp`
    public static func isEqual(_ first: ByteRegion, _ second: ByteRegion) -> Bool {
        guard first.count == second.count else { return false }
        return unsafe sodium_memcmp(first.unsafeStart, second.unsafeStart, first.count) == 0
    }
}
