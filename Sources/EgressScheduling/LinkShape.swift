/// What a line may be given.
public struct LinkShape: Sendable, Hashable {
    /// Bits on the wire per second: 1 to 10^13.
    public let bitsPerSecond: Int64

    /// - Parameter bitsPerSecond: What is out of range is clamped.
    public init(bitsPerSecond: Int64) {
        self.bitsPerSecond = max(1, min(bitsPerSecond, Self.bitsPerSecondMax))
    }

    /// A part of a line's rate, so that frames wait here, and not in the line's own buffer.
    public init(line bitsPerSecond: Int64, share: Double = 0.95) {
        let line = max(0, min(bitsPerSecond, Self.bitsPerSecondMax))
        self.init(bitsPerSecond: Int64(Double(line) * max(0, min(share, 1))))
    }

    /// Whether a frame of full size, 64 KiB, would hold the line for more than about a
    /// millisecond, so that frames should be cut into packets before they wait.
    public var splitsFrames: Bool { bitsPerSecond < Self.splittingBitsPerSecond }

    public static let bitsPerSecondMax: Int64 = 10_000_000_000_000
    static let splittingBitsPerSecond: Int64 = 500_000_000
}
