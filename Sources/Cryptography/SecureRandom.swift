import CSodium
public import PacketMemory

/// Randomness of the operating system, fit for keys.
public enum SecureRandom {
    /// Overwrites all of `region`. `randombytes_buf`
    public static func fill(_ region: ByteRegion) {
        Sodium.prepare()
        unsafe randombytes_buf(region.unsafeStart, region.count)
    }

    /// A number uniform over all 32 bits. `randombytes_random`
    public static func uint32() -> UInt32 {
        Sodium.prepare()
        return randombytes_random()
    }

    /// A number uniform over all 64 bits.
    public static func uint64() -> UInt64 { UInt64(uint32()) << 32 | UInt64(uint32()) }
}
