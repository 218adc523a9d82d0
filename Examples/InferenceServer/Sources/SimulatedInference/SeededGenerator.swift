/// SplitMix64: small, fast and the same on every machine. Not for secrets.
///
/// Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// One of many independent sequences of a seed.
    /// - Parameters:
    ///   - seed: Chosen by whoever runs the server.
    ///   - sequence: Which sequence, such as the ordinal number of a request.
    public init(seed: UInt64, sequence: UInt64) {
        state = Self.mixed(seed &+ Self.gamma) ^ Self.mixed(sequence &* Self.gamma &+ 1)
    }

    public mutating func next() -> UInt64 {
        state &+= Self.gamma
        return Self.mixed(state)
    }

    /// A number from 0 to below 1, with 53 random bits.
    public mutating func nextUnit() -> Double {
        Double(next() >> 11) * 0x1p-53
    }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var word = value
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    private static let gamma: UInt64 = 0x9e37_79b9_7f4a_7c15
}
