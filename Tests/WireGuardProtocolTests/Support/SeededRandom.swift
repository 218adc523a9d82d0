import Synchronization
import TestSupport
import WireGuardProtocol

extension RandomSource {
    /// Randomness that depends on a seed only. Not for keys outside of tests.
    static func seeded(_ seed: UInt64) -> RandomSource {
        let box = GeneratorBox(seed)
        return RandomSource { region in
            box.generator.withLock { generator in
                for offset in 0..<region.count {
                    region[offset] = UInt8(truncatingIfNeeded: generator.next() >> 24)
                }
            }
        }
    }
}

private final class GeneratorBox: Sendable {
    let generator: Mutex<SeededGenerator>

    init(_ seed: UInt64) { generator = Mutex(SeededGenerator(seed: seed)) }
}

/// Seeds of a randomised test: fixed ones, and more of them when asked for by
/// `BRANCHLINE_SEED_COUNT`. The seed is an argument of the test, so every failure names it.
enum Seeds {
    static func count(_ usual: Int) -> [UInt64] {
        (0..<UInt64(environmentCount ?? usual)).map { 0x5eed_0000 + $0 }
    }
}
