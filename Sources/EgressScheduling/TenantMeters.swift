/// The rates of one tenant in one direction, shared by all workers.
public final class TenantMeters: Sendable {
    /// Bytes; `nil` where there is no limit.
    public let maximum: RateMeter?
    /// Bytes that are promised; `nil` where nothing is.
    public let minimum: RateMeter?
    /// Packets; `nil` where there is no limit.
    public let packets: RateMeter?

    /// Full buckets.
    public init(_ limits: TenantLimits, burst: RateBurst = .shaping) {
        maximum = limits.maximumRate.map { RateMeter(bitsPerSecond: $0, burst: burst) }
        minimum = limits.minimumRate.map { RateMeter(bitsPerSecond: $0, burst: burst) }
        packets = limits.maximumPacketsPerSecond.map {
            RateMeter(packetsPerSecond: $0, burst: burst)
        }
    }

    /// Whether ``take(byteCount:now:)`` can ever refuse.
    public var isCapped: Bool { maximum != nil || packets != nil }

    /// Takes a frame from both limits, or from none.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Returns: `false` if a limit does not allow the frame yet.
    public func take(byteCount: Int, now: UInt64) -> Bool {
        let packetCount = Self.packetCount(byteCount: byteCount)
        if let packets, !packets.take(packetCount, now: now) { return false }
        if let maximum, !maximum.take(byteCount, now: now) {
            packets?.giveBack(packetCount)
            return false
        }
        return true
    }

    /// When both limits will allow a frame, in monotonic nanoseconds; 0 without limits.
    public func nextTime(byteCount: Int) -> UInt64 {
        max(
            maximum?.nextTime(byteCount) ?? 0,
            packets?.nextTime(Self.packetCount(byteCount: byteCount)) ?? 0)
    }

    /// The packets that a frame counts for: a segmentation frame becomes several.
    public static func packetCount(byteCount: Int) -> Int {
        max(1, (byteCount &+ packetBytes &- 1) / packetBytes)
    }

    /// Bytes of an inner packet of full size.
    public static let packetBytes = 1_500
}
