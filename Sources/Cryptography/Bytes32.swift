import PacketMemory

/// 32 public bytes as a plain value, in memory order.
struct Bytes32: Hashable, Sendable {
    var word0: UInt64 = 0
    var word1: UInt64 = 0
    var word2: UInt64 = 0
    var word3: UInt64 = 0

    init() {}

    init?(_ bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        withMutableBytes { region in
            for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        }
    }

    init(copying region: ByteRegion) {
        precondition(region.count == 32, "this value is 32 bytes long")
        withMutableBytes { $0.copy(from: region) }
    }

    /// Lends the bytes of a temporary copy: writing to it changes nothing.
    @inline(__always)
    func withBytes<Result>(_ body: (ByteRegion) throws -> Result) rethrows -> Result {
        var copy = self
        return try copy.withMutableBytes(body)
    }

    @inline(__always)
    mutating func withMutableBytes<Result>(
        _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        try unsafe withUnsafeMutableBytes(of: &self) { buffer in
            // A struct of four words is never empty, so it has an address.
            guard let start = buffer.baseAddress else { preconditionFailure("no storage") }
            return try unsafe body(ByteRegion(start: start, count: 32))
        }
    }

    /// Orders as the byte strings do.
    static func precedes(_ first: Bytes32, _ second: Bytes32) -> Bool {
        if first.word0 != second.word0 { return first.word0.bigEndian < second.word0.bigEndian }
        if first.word1 != second.word1 { return first.word1.bigEndian < second.word1.bigEndian }
        if first.word2 != second.word2 { return first.word2.bigEndian < second.word2.bigEndian }
        return first.word3.bigEndian < second.word3.bigEndian
    }
}
