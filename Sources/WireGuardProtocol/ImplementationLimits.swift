/// Limits that this implementation chooses; a peer cannot observe them but by load.
public enum ImplementationLimits {
    /// Peers of one device.
    ///
    /// An idle peer with two sessions, one allowed prefix and its entries in all tables, those of
    /// one worker included, takes 3.5 KiB: two sessions 2.6 KiB, peer and activity 0.45 KiB,
    /// tables 0.45 KiB. A session of profile `branchline` takes 8.3 KiB, and with AES-256-GCM
    /// 10.3 KiB. Without traffic sessions go after ``ProtocolConstants/zeroKeysAfterTime``.
    public static let peerCountMax = 1 << 20
    /// Numbers of removed peers that rest before one is given to a new peer, so that a message
    /// about the old peer which is still under way between threads finds nobody.
    public static let restingPeerIDCount = 256
    /// Counters that a replay window remembers as bits: a power of two.
    public static let replayWindowBitCount = 8_192
    /// The same for profile `branchline`.
    public static let wideReplayWindowBitCount = 65_536
    /// Sessions before the current one that still receive: two that crossed, both in use if
    /// messages overtook each other, and one of the next crossing.
    public static let formerSessionCountMax = 3
    /// How far behind the greatest counter a packet may come; in profile `branchline` the window is
    /// all of its bits.
    public static let replayWindowSize = replayWindowBitCount - 64
    /// Shortest time between two accepted initiations of one peer.
    public static let initiationSpacingNanoseconds: UInt64 = 20_000_000
    /// Handshake messages a second that one source address may spend under load.
    public static let handshakesPerSecond: UInt64 = 20
    /// Handshake messages a source may send at once.
    public static let handshakeBurst: UInt64 = 5
    /// Sources that the rate limiter remembers; beyond it new ones are refused.
    public static let rateLimiterEntryMax = 16_384
    /// Idle time after which the rate limiter forgets a source.
    public static let rateLimiterIdleNanoseconds: UInt64 = 1_000_000_000
    /// Step that timestamps are rounded down to, hiding the clock's fine structure: the greatest
    /// power of two below ``initiationSpacingNanoseconds``.
    public static let timestampStepNanoseconds: UInt32 = 1 << 24
    /// Longest handshake message in bytes: the hybrid initiation.
    public static let handshakeMessageByteMax = 1_348
    /// The same rounded up to whole cache lines.
    public static let handshakeMessageRoom = (handshakeMessageByteMax + 63) & ~63
    /// Source addresses whose tunnel is remembered: a power of two.
    public static let tunnelHints = 4_096
    /// Flows to shared prefixes that one worker remembers the peers of: 64 KiB.
    public static let pinnedFlows = 4_096
    /// Workers that the low byte of a receiver index can select.
    public static let workerCountMax = 256
    /// Lanes that its second byte can select.
    public static let laneCountMax = 256
}
