import EgressScheduling
import LinuxNetworking
import Logging
import WireGuardConfiguration
import WireGuardProtocol

/// The line whose rate changes.
extension Engine {
    /// Lets the line's rate follow what a probe to a peer took; without effect where there is no
    /// line, or its rate is always the same.
    ///
    /// - Parameter now: Monotonic nanoseconds, when the answer came.
    func followLink(_ sample: DelaySample, of tunnel: Tunnel, now: UInt64) {
        guard follower != nil else { return }
        let rate = follower?.note(
            sample, tunnel: tunnel.number, bytesSent: lineBytesSent, now: now)
        if rate != nil { useFollowedRate() }
    }

    /// The way to a peer is another one, or there is no such peer any more.
    func followLinkNoMore(to peer: PeerID, of tunnel: Tunnel) {
        follower?.forget(peer: peer, tunnel: tunnel.number)
    }

    /// Notes that a probe to a peer leaves, so that it is known when none is answered.
    func followLinkProbed(now: UInt64) {
        follower?.noteProbe(now: now)
    }

    /// Does what is due although no probe is answered.
    func followLinkByClock(now: UInt64) {
        guard let timeout = follower?.nextTimeout, timeout <= now else { return }
        if follower?.expire(bytesSent: lineBytesSent, now: now) != nil { useFollowedRate() }
    }

    /// How the rate is followed, for those who ask; `nil` where it is not.
    func following(now: UInt64) -> QoSStatus.Following? {
        guard let follower else { return nil }
        var status = QoSStatus.Following(bitsPerSecond: follower.bitsPerSecond)
        guard let change = follower.latestChange else { return status }
        status.ageNanoseconds = now &- min(now, change.at)
        switch change.cause {
        case .raised: status.cause = .raised
        case .late(let nanoseconds):
            status.cause = .late
            status.delayNanoseconds = nanoseconds
        case .silence: status.cause = .silence
        case .idle: status.cause = .idle
        }
        return status
    }

    private func useFollowedRate() {
        guard let follower else { return }
        log.debug("the line's rate is taken to be \(follower.bitsPerSecond) bit/s")
        queueLink()
        postCommands()
    }

    /// Bytes that workers have given the line.
    private var lineBytesSent: UInt64 {
        workers.reduce(0) { $0 &+ $1.wireBytesSent }
    }
}

extension LinkRateFollower {
    /// - Returns: `nil` where the rate is always the same.
    init?(_ link: QoSSettings.Link) {
        guard let minimum = link.minimumBitsPerSecond else { return nil }
        self.init(
            minimum: minimum, starting: link.bitsPerSecond, maximum: link.bitsPerSecond)
    }
}
