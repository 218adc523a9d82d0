public import PacketFormats

/// Bounds the handshake messages that one source may make us compute, by a token bucket each.
///
/// An IPv6 source is its /64. A full table refuses unknown sources until entries age out.
///
/// Source: WireGuard paper, section 5.3; the reference implementations' figures.
public struct HandshakeRateLimiter {
    private struct Source: Hashable {
        var number: UInt64
        var isIPv4: Bool
    }

    private struct Bucket {
        /// Monotonic nanoseconds.
        var lastTime: UInt64
        /// Saved-up time in nanoseconds: each message costs ``HandshakeRateLimiter/cost``.
        var tokens: UInt64
    }

    private var buckets: [Source: Bucket] = [:]
    private var lastSweep: UInt64 = 0

    public init() {}

    /// Number of sources remembered.
    public var count: Int { buckets.count }

    /// Whether a message from `address` may be worked on; it then counts against its source.
    public mutating func allow(_ address: IPAddress, now: UInt64) -> Bool {
        sweep(now)
        let source = Source(
            number: address.isIPv4 ? address.low : address.high, isIPv4: address.isIPv4)
        guard var bucket = buckets[source] else {
            guard buckets.count < ImplementationLimits.rateLimiterEntryMax else { return false }
            buckets[source] = Bucket(lastTime: now, tokens: Self.tokensMax - Self.cost)
            return true
        }
        let earned = MonotonicTime.elapsed(from: bucket.lastTime, to: now)
        bucket.tokens = min(MonotonicTime.adding(earned, to: bucket.tokens), Self.tokensMax)
        bucket.lastTime = now
        let isAllowed = bucket.tokens >= Self.cost
        if isAllowed { bucket.tokens -= Self.cost }
        buckets[source] = bucket
        return isAllowed
    }

    /// Forgets idle sources, at most once an idle time.
    private mutating func sweep(_ now: UInt64) {
        let idle = ImplementationLimits.rateLimiterIdleNanoseconds
        guard MonotonicTime.elapsed(from: lastSweep, to: now) >= idle else { return }
        lastSweep = now
        guard !buckets.isEmpty else { return }
        buckets = buckets.filter {
            MonotonicTime.elapsed(from: $0.value.lastTime, to: now) < idle
        }
    }

    /// Nanoseconds that one message costs.
    static let cost = 1_000_000_000 / ImplementationLimits.handshakesPerSecond
    static let tokensMax = cost * ImplementationLimits.handshakeBurst
}
