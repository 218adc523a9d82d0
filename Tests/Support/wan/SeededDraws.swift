/// Random numbers by place: what a packet draws follows from the seed, its direction and its
/// number, whatever was drawn for others.
struct SeededDraws {
    /// What a number is drawn for; draws for one purpose say nothing of those for another.
    enum Purpose: UInt64 {
        case loss = 1
        case mark
        case reordering
        case jitter
    }

    private let key: UInt64

    init(seed: UInt64, stream: UInt64) {
        key = Self.mix(Self.mix(seed) &+ stream)
    }

    /// A number from 0 up to, not including, 1.
    func unit(_ purpose: Purpose, _ number: UInt64) -> Double {
        let word = Self.mix(Self.mix(key ^ purpose.rawValue) &+ number &* Self.golden)
        return Double(word >> 11) * 0x1p-53
    }

    /// The output function of SplitMix64.
    ///
    /// Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    private static func mix(_ value: UInt64) -> UInt64 {
        var word = value &+ golden
        word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }

    private static let golden: UInt64 = 0x9e37_79b9_7f4a_7c15
}
