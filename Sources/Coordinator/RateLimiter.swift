/// Token buckets by key, in bounded memory.
///
/// Time is an argument. When the table is full, buckets that are full again go first: they say
/// nothing. Should none be, newcomers share one bucket, so that nobody can make the table forget
/// who was limited.
struct RateLimiter<Key: Hashable & Sendable>: Sendable {
    enum Decision: Hashable, Sendable {
        case allowed
        /// Rounded up, at least 1.
        case limited(retryAfterSeconds: Int64)
    }

    private struct Bucket {
        var tokens: Double
        var atNanoseconds: Int64
    }

    private let rate: Rate
    private let entriesMax: Int
    private var buckets: [Key: Bucket] = [:]
    private var shared: Bucket
    private var nextSweepNanoseconds: Int64 = 0

    init(rate: Rate, entriesMax: Int) {
        self.rate = rate
        self.entriesMax = entriesMax
        shared = Bucket(tokens: rate.burst, atNanoseconds: 0)
    }

    var count: Int { buckets.count }

    /// Takes one token.
    ///
    /// - Parameter now: Nanoseconds of a clock that never goes back.
    /// - Complexity: O(1), and O(entries) at most once a second when the table is full.
    mutating func take(_ key: Key, now: Int64) -> Decision {
        var bucket = bucket(for: key, now: now)
        guard bucket.tokens >= 1 else {
            return limited(bucket)
        }
        bucket.tokens -= 1
        store(bucket, for: key, now: now)
        return .allowed
    }

    /// What ``take(_:now:)`` would say, without taking anything.
    func peek(_ key: Key, now: Int64) -> Decision {
        let bucket = bucket(for: key, now: now)
        return bucket.tokens >= 1 ? .allowed : limited(bucket)
    }

    private func bucket(for key: Key, now: Int64) -> Bucket {
        if let bucket = buckets[key] { return refilled(bucket, now: now) }
        if buckets.count < entriesMax { return Bucket(tokens: rate.burst, atNanoseconds: now) }
        return refilled(shared, now: now)
    }

    private mutating func store(_ bucket: Bucket, for key: Key, now: Int64) {
        if buckets[key] == nil, buckets.count >= entriesMax {
            sweep(now: now)
            guard buckets.count < entriesMax else {
                shared = bucket
                return
            }
        }
        buckets[key] = bucket
    }

    private mutating func sweep(now: Int64) {
        guard now >= nextSweepNanoseconds else { return }
        nextSweepNanoseconds = now + Self.second
        buckets = buckets.filter { refilled($0.value, now: now).tokens < rate.burst }
    }

    private func refilled(_ bucket: Bucket, now: Int64) -> Bucket {
        let elapsed = Double(max(0, now - bucket.atNanoseconds)) / Double(Self.second)
        let tokens = min(rate.burst, bucket.tokens + elapsed * rate.perSecond)
        return Bucket(tokens: tokens, atNanoseconds: max(now, bucket.atNanoseconds))
    }

    private func limited(_ bucket: Bucket) -> Decision {
        let missing = 1 - bucket.tokens
        let seconds = rate.perSecond > 0 ? missing / rate.perSecond : Double(Self.retryMax)
        let whole = min(Double(Self.retryMax), max(1, seconds.rounded(.up)))
        return .limited(retryAfterSeconds: Int64(whole))
    }

    private static var second: Int64 { 1_000_000_000 }
    private static var retryMax: Int64 { 3600 }
}
