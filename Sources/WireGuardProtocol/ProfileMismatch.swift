public import PacketFormats

/// A peer that authenticated itself, and speaks another profile than it is configured for: one of
/// the two ends' configurations wants a change.
public struct ProfileMismatch: Equatable, Sendable {
    /// What the peer is configured for here.
    public let configured: TunnelProfile
    /// What its initiation was made for.
    public let spoken: TunnelProfile
    /// When it came.
    public let noticedAt: WallClock?
    /// Of that initiation: an earlier one is a replay.
    let timestamp: TAI64N
}
