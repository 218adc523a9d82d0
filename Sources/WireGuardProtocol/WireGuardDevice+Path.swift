public import PacketFormats

/// Measuring the ways to peers of profile `branchline`, each by a ``PathMonitor``.
///
/// A peer is measured while it has a session: probes begin none and renew none that would not be
/// renewed anyway.
extension WireGuardDevice {
    /// Sets the longest inner packet, padding included: the tunnel's MTU in bytes.
    public func setPacketMax(_ byteCount: Int) {
        guard byteCount != packetMax else { return }
        packetMax = byteCount
        for case let peer? in peers { renewPath(of: peer) }
    }

    /// Sets how often the path to a peer with traffic is measured, in nanoseconds: often for a
    /// shaper that follows it.
    public func setPathInterval(_ nanoseconds: UInt64) {
        guard nanoseconds != pathInterval else { return }
        pathInterval = nanoseconds
        for case let peer? in peers where peer.path != nil {
            peer.path?.setActiveInterval(nanoseconds)
            schedule(peer, .path, at: 0)
        }
    }

    /// The pace of a path that nobody follows, in nanoseconds.
    public static var pathIntervalDefault: UInt64 { PathMonitor.activeInterval }

    /// Takes a peer's answer to a probe.
    ///
    /// - Parameter arrivedAt: Microseconds of the clock that the probe was stamped by.
    /// - Returns: What it says of the path; `nil` if it says nothing.
    public func pathAnswered(
        _ id: PeerID, _ answer: PathAnswer, arrivedAt: UInt64, now: UInt64
    ) -> PathSample? {
        // Answers to another process's probes, too, come before there is a path.
        guard let peer = peer(id), peer.path != nil else { return nil }
        let sample = peer.path?.take(answer, arrivedAt: arrivedAt, now: now)
        announcePacketMax(of: peer)
        schedulePath(of: peer, now: now)
        return sample
    }

    /// Takes note that a probe did not leave: there was no room for it, or nobody to send it to.
    public func pathProbeSkipped(_ id: PeerID, _ probe: PathProbe, now: UInt64) {
        guard let peer = peer(id), peer.path != nil else { return }
        peer.path?.forget(probe, now: now)
        schedulePath(of: peer, now: now)
    }

    /// What is known of the way to a peer; `nil` before it was measured, and for other profiles.
    public func pathEstimate(_ id: PeerID) -> PathEstimate? { peer(id)?.path?.estimate }

    /// The longest IP packet that may leave for the peer, outer headers included, in bytes.
    public func pathMTU(_ id: PeerID) -> Int? {
        guard let peer = peer(id), let path = peer.path else { return nil }
        return path.search.current + Self.outerOverhead(of: peer.endpoint)
    }

    /// Looks at the path at the next ``advance(now:wallClock:)``: there is a session, or traffic
    /// after a time without.
    func wakePath(of peer: Peer, now: UInt64) {
        guard peer.profile.family == .branchline else { return }
        guard peer.path != nil else { return schedule(peer, .path, at: now) }
        peer.path?.wake(now: now)
        schedulePath(of: peer, now: now)
    }

    /// The path is another one: nothing that is known of its sizes counts.
    func renewPath(of peer: Peer) {
        guard peer.path != nil else { return }
        peer.isPathStale = true
        schedule(peer, .path, at: 0)
    }

    /// The peer speaks another profile now.
    func endPath(of peer: Peer) {
        peer.path = nil
        announcePacketMax(of: peer)
        schedule(peer, .path, at: nil)
    }

    func pathDue(_ peer: Peer, now: UInt64) {
        // Comes again with the next session.
        guard peer.profile.family == .branchline, peer.endpoint != nil,
            peer.current?.isUsableForSending(now: now) == true
        else { return }
        let overhead = Self.outerOverhead(of: peer.endpoint)
        if peer.path == nil {
            peer.path = PathMonitor(
                ipOverhead: overhead, packetMax: packetMax, firstNumber: random.uint32(),
                activeInterval: pathInterval, now: now)
        } else if peer.isPathStale {
            peer.path?.restart(ipOverhead: overhead, packetMax: packetMax, now: now)
        }
        peer.isPathStale = false
        let probes = peer.path?.advance(now: now, traffic: peer.activity.carriedBytes) ?? []
        for probe in probes { actions.append(.sendProbe(peer.id, probe)) }
        announcePacketMax(of: peer)
        schedulePath(of: peer, now: now)
    }

    private func schedulePath(of peer: Peer, now: UInt64) {
        guard !peer.isPathStale else { return schedule(peer, .path, at: 0) }
        guard let deadline = peer.path?.nextDeadline, deadline != .max else {
            return schedule(peer, .path, at: nil)
        }
        let due = max(deadline, MonotonicTime.adding(ProtocolConstants.millisecond, to: now))
        // A path that is followed wants its own pace. Other peers, of all devices, are looked at on
        // common ticks: many of them wake the caller no oftener than few.
        let tick = pathInterval < PathMonitor.activeInterval ? 1 : Self.pathTick
        schedule(peer, .path, at: MonotonicTime.adding(tick - 1, to: due) / tick * tick)
    }

    /// Many are not looked at at once, either: what they send goes before a worker's packets.
    private static let pathTick = PathMonitor.activeInterval / 32

    private func announcePacketMax(of peer: Peer) {
        let limit = peer.path?.packetMax
        guard limit != peer.packetMax else { return }
        peer.packetMax = limit
        actions.append(.limitPackets(peer.id, byteCount: limit ?? Int(UInt16.max)))
    }

    private static func outerOverhead(of endpoint: Endpoint?) -> Int {
        IPPacket.udpHeadersCount(isIPv4: endpoint?.address.isIPv4 == true)
    }
}
