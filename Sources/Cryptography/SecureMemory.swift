import CSodium
public import PacketMemory

/// Wiping that the compiler does not leave out.
public enum SecureMemory {
    /// Sets all of `region` to zero. `sodium_memzero`
    public static func wipe(_ region: ByteRegion) {
        unsafe sodium_memzero(region.unsafeStart, region.count)
    }
}
