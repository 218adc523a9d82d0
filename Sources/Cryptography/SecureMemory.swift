import CSodium
public import PacketMemory

/// Wiping that the compiler does not leave out.
public enum SecureMemory {
    /// Whether the kernel has locked the memory of all secrets so far; where the process may lock
    /// no more (RLIMIT_MEMLOCK), secrets can reach a swap device.
    public static var isLocked: Bool { LockedMemory.isComplete }

    /// Sets all of `region` to zero. `sodium_memzero`
    public static func wipe(_ region: ByteRegion) {
        unsafe sodium_memzero(region.unsafeStart, region.count)
    }
}
