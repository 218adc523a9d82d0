import Cryptography
public import PacketMemory

/// Where a device takes its randomness from: the operating system, or a seed in tests.
public struct RandomSource: Sendable {
    private let fillRegion: @Sendable (ByteRegion) -> Void

    /// - Parameter fill: Overwrites all of its argument with bytes fit for keys.
    public init(_ fill: @escaping @Sendable (ByteRegion) -> Void) {
        fillRegion = fill
    }

    /// The operating system's.
    public static var secure: RandomSource { RandomSource { SecureRandom.fill($0) } }

    func fill(_ region: ByteRegion) { fillRegion(region) }

    func uint32() -> UInt32 { UInt32(truncatingIfNeeded: uint64()) }

    func uint64() -> UInt64 {
        var bytes = Digest32()
        return bytes.withMutableBytes { region in
            fillRegion(region.prefix(8))
            return region.littleEndian64(at: 0)
        }
    }

    /// A number from 0 up to, not including, `bound`; evenly spread for bounds far below 2^64.
    func below(_ bound: UInt64) -> UInt64 { uint64() % max(bound, 1) }

    func privateKey() -> PrivateKey {
        var secret = Secret32()
        secret.withMutableBytes { fillRegion($0) }
        return PrivateKey(clamping: secret)
    }

    func decapsulationKey() -> DecapsulationKey {
        var keySeed = Secret32()
        var rejectionSeed = Secret32()
        keySeed.withMutableBytes { fillRegion($0) }
        rejectionSeed.withMutableBytes { fillRegion($0) }
        return DecapsulationKey(keySeed: keySeed, rejectionSeed: rejectionSeed)
    }
}
