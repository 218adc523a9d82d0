/// Texts that no two requests share, so that no cache on the way or in the server helps.
struct PromptText: Sendable {
    private var state: UInt64

    init(seed: UInt64, stream: UInt64) {
        state = seed &* 0x9e37_79b9_7f4a_7c15 ^ stream &* 0xbf58_476d_1ce4_e5b9
    }

    /// Words of lower-case letters; nothing in them needs escaping in JSON.
    mutating func next(byteCount: Int) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        while bytes.count < byteCount {
            var word = nextWord()
            for _ in 0..<12 where bytes.count < byteCount {
                let digit = UInt8(word & 31)
                word >>= 5
                bytes.append(digit < 26 ? UInt8(ascii: "a") + digit : UInt8(ascii: " "))
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// SplitMix64.
    private mutating func nextWord() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}
