import PacketFormats
import WireGuardConfiguration
import WireGuardProtocol

extension EngineStatus.KeyUse {
    /// - Returns: `nil` for a session that nothing is sent with any more.
    init?(_ session: Session, now: UInt64) {
        guard session.isUsableForSending(now: now) else { return nil }
        let age = session.age(at: now)
        func seconds(until limit: UInt64) -> UInt64 { (limit - min(age, limit)) / Self.second }
        self.init(
            ageSeconds: age / Self.second, sentMessages: session.sentCount,
            receivedMessages: session.withReplayWindow { $0.acceptedCount },
            messagesMax: session.profile.rekeyAfterMessages,
            rekeySeconds: session.isInitiator
                ? seconds(until: ProtocolConstants.rekeyAfterTime) : nil,
            endSeconds: seconds(until: ProtocolConstants.rejectAfterTime))
    }

    private static let second: UInt64 = 1_000_000_000
}

extension EngineStatus.ProfileMismatch {
    init(_ mismatch: ProfileMismatch, at now: WallClock) {
        let then = mismatch.noticedAt?.seconds ?? now.seconds
        self.init(
            spoken: mismatch.spoken,
            ageSeconds: UInt64(clamping: now.seconds - min(then, now.seconds)))
    }
}
