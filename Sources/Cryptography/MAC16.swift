public import PacketMemory

/// A 16-byte message authentication code; comparing takes constant time.
public struct MAC16: Equatable, Sendable {
    public static var count: Int { 16 }

    private let low: UInt64
    private let high: UInt64

    /// - Parameter region: Exactly 16 bytes.
    public init(copying region: ByteRegion) {
        precondition(region.count == MAC16.count, "a MAC is 16 bytes long")
        low = region.littleEndian64(at: 0)
        high = region.littleEndian64(at: 8)
    }

    public static func == (first: MAC16, second: MAC16) -> Bool {
        (first.low ^ second.low) | (first.high ^ second.high) == 0
    }

    public var bytes: [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? low : high) &>> UInt64($0 % 8 * 8)) }
    }

    /// Writes the 16 bytes to the start of `region`.
    public func write(to region: ByteRegion) {
        region.storeLittleEndian(low, at: 0)
        region.storeLittleEndian(high, at: 8)
    }
}
