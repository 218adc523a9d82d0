import EgressScheduling
import LinuxNetworking
import Logging
import PacketFormats
import WireGuardConfiguration
import WireGuardProtocol

/// What probes say of the ways to peers.
extension Tunnel {
    /// Takes a peer's answer, whatever it says.
    func take(_ answer: PathAnswer, from peer: PeerID, arrivedAt: UInt64) {
        let now = Clock.monotonicNanoseconds()
        if let sample = device.pathAnswered(peer, answer, arrivedAt: arrivedAt, now: now) {
            engine.followLink(DelaySample(sample, peer), of: self, now: now)
        }
        performActions()
    }

    /// Measures paths often where a line's rate follows what is measured.
    func setPathPace() {
        device.setPathInterval(
            engine.follower == nil
                ? WireGuardDevice.pathIntervalDefault : EngineLimits.followedPathNanoseconds)
    }

    /// Tells of a path that carries less than the interface's MTU, or more again.
    func noteLimit(_ byteCount: Int, of id: PeerID) {
        guard let peer = peers[id] else { return }
        // It speaks another profile now.
        guard let pathMTU = device.pathMTU(id) else {
            peers[id]?.isPathNarrow = false
            return
        }
        if byteCount < settings.mtu {
            let words = "path MTU \(pathMTU), packets up to \(byteCount) bytes"
            // Many steps of a search follow the first.
            log.log(level: peer.isPathNarrow ? .debug : .info, "peer \(peer.name): \(words)")
        } else if peer.isPathNarrow {
            log.info("peer \(peer.name): path carries the interface's MTU again")
        }
        peers[id]?.isPathNarrow = byteCount < settings.mtu
    }

    func pathStatus(_ id: PeerID) -> EngineStatus.Path? {
        guard let estimate = device.pathEstimate(id), let mtu = device.pathMTU(id) else {
            return nil
        }
        return EngineStatus.Path(estimate, mtu: mtu)
    }
}

extension DelaySample {
    init(_ sample: PathSample, _ peer: PeerID) {
        self.init(outwardDelay: sample.transit, roundTrip: sample.roundTrip, peer: peer)
    }
}

extension EngineStatus.Path {
    init(_ estimate: PathEstimate, mtu: Int) {
        func microseconds(_ nanoseconds: UInt64) -> UInt64 { nanoseconds / 1_000 }
        let isMeasured = estimate.answerCount > 0
        self.init(
            roundTripMicroseconds: isMeasured ? microseconds(estimate.roundTrip) : nil,
            roundTripMinMicroseconds: isMeasured ? microseconds(estimate.roundTripMin) : nil,
            jitterMicroseconds: isMeasured ? microseconds(estimate.jitter) : nil,
            lossShare: estimate.lossShare, probes: estimate.probeCount,
            answers: estimate.answerCount, mtu: mtu,
            isMTUConfirmed: estimate.isDatagramSizeConfirmed)
    }
}
