import Cryptography
public import PacketFormats

/// Which sessions a peer has: the one to send with, those before it, and one made as responder
/// that waits for its first packet.
///
/// Initiations of both ends can cross. We answer the peer's and keep our own, so two sessions can
/// come of it, and both ends should send with the same: each renewing its own, they would cross
/// again at every renewal. The kernel and wireguard-go forget their own initiation when they read
/// the peer's, and drop the response to it; then only the session that we began can complete,
/// whichever key is the greater. We cannot tell which kind of peer we have. Hence:
///
/// 1. A response is taken, and its session sent with at once, unless the peer has already sent
///    with the session that it began. So whichever handshake completes is used.
/// 2. The end with the greater public key stays with the session that it began.
/// 3. The other end keeps the peer's session next in line, and moves to it when the peer sends with
///    it: one of ours does at once, a stock peer only if it read our response first.
///
/// No packet is lost in any order of arrival, as former sessions receive as long as they live.
/// Where messages overtake each other twice, the lesser end's initiation by its later response and
/// then the other end's first packet by the later response to that initiation, each end can come to
/// send with the session that the other began. So they go on until the lesser end renews its own,
/// 165 seconds after the handshake instead of 120.
///
/// Source: WireGuard paper, section 6.3.
extension WireGuardDevice {
    /// Reports the first authenticated packet of a session that we made as responder.
    public func sessionConfirmed(_ session: Session, now: UInt64) {
        guard let peer = peer(session.peer) else { return }
        guard peer.next === session else {
            // The worker that confirmed it sends with it: put it back in line.
            if peer.current !== session { announceCurrent(of: peer) }
            return
        }
        peer.next = nil
        let outdated = demote(peer.current, of: peer, now: now)
        peer.current = session
        actions.append(.promote(session))
        for session in outdated { retire(session) }
        completeHandshake(peer, now: now)
    }

    private func announceCurrent(of peer: Peer) {
        actions.append(peer.current.map { .promote($0) } ?? .stopSending(peer.id))
    }

    /// Reports from where an authenticated packet came, if not from the known endpoint.
    public func endpointChanged(_ id: PeerID, _ endpoint: Endpoint) {
        guard let peer = peer(id) else { return }
        move(peer, to: endpoint)
    }

    func move(_ peer: Peer, to endpoint: Endpoint?) {
        guard peer.endpoint != endpoint else { return }
        peer.endpoint = endpoint
        peer.path?.move()
        renewPath(of: peer)
        actions.append(.endpointChanged(peer.id, endpoint))
    }

    /// Takes over a session that we made as initiator: both ends have the keys.
    func installInitiated(
        _ session: Session, of peer: Peer, initiatedAt: UInt64, now: UInt64
    ) {
        var outdated = demote(peer.current, of: peer, now: now)
        if let next = peer.next, !mayGiveWay(to: next, of: peer, initiatedAt: initiatedAt) {
            // The peer may already send with the unconfirmed one, which is newer than the current.
            outdated += demote(next, of: peer, now: now)
            peer.next = nil
        }
        peer.current = session
        actions.append(.install(session, use: .sending))
        for session in outdated { retire(session) }
    }

    /// Whether the session that our initiation made is to be left for the one that the peer began,
    /// should the peer send with that. An initiation that left after the peer's was answered, as a
    /// retry, does not cross it: the peer takes it for the newer.
    private func mayGiveWay(to next: Session, of peer: Peer, initiatedAt: UInt64) -> Bool {
        guard let own = privateKey?.publicKey, own < peer.publicKey else { return false }
        return initiatedAt <= next.createdAt
    }

    /// Takes over a session that we made as responder: the peer has not yet shown its keys.
    ///
    /// The previous one stays until then: after a crossing the peer may still send with it.
    func installResponded(_ session: Session, of peer: Peer) {
        let outdated = peer.next
        peer.next = session
        actions.append(.install(session, use: .receivingOnly))
        retire(outdated)
    }

    /// Makes `session` a former one, for packets still under way.
    ///
    /// - Returns: Those to retire, as they receive nothing any more or are too many.
    private func demote(_ session: Session?, of peer: Peer, now: UInt64) -> [Session] {
        guard let session else { return [] }
        peer.former.insert(session, at: 0)
        let kept = peer.former.prefix(ImplementationLimits.formerSessionCountMax)
            .filter { $0.isUsableForReceiving(now: now) }
        let outdated = peer.former.filter { former in !kept.contains { $0 === former } }
        peer.former = kept
        return outdated
    }

    /// Ends every session and handshake of a peer.
    func expireKeys(of peer: Peer) {
        dropPending(peer)
        retireSessions(of: peer)
        peer.lastHandshakeSentAt = nil
        peer.activity.clear(PeerActivity.Flag.handshakeRequested)
        schedule(peer, .handshake, at: nil)
        schedule(peer, .zeroKeys, at: nil)
    }

    /// Ends every session of a peer; a handshake that is under way goes on.
    func retireSessions(of peer: Peer) {
        // Said even if there is no current one: a worker may send with one that it just confirmed.
        actions.append(.stopSending(peer.id))
        for session in peer.sessions { retire(session) }
        peer.current = nil
        peer.former = []
        peer.next = nil
    }

    func dropPending(_ peer: Peer) {
        if let pending = peer.pending { indices.release(pending.localIndex) }
        peer.pending = nil
    }

    /// What follows when both ends are known to hold new keys.
    func completeHandshake(_ peer: Peer, now: UInt64) {
        dropPending(peer)
        peer.mismatch = nil
        schedule(peer, .handshake, at: nil)
        peer.lastHandshake = wallClock(at: now)
        wakePath(of: peer, now: now)
        peer.activity.clear(PeerActivity.Flag.handshakeRequested)
    }

    /// Frees a session's index, after its successor has been announced.
    private func retire(_ session: Session?) {
        guard let session else { return }
        session.retire()
        indices.release(session.localIndex)
        actions.append(.retire(session))
    }

    /// The wall clock at a moment not long after the last one it was told at.
    private func wallClock(at now: UInt64) -> WallClock? {
        guard let anchor = wallClockAnchor else { return nil }
        let elapsed = MonotonicTime.elapsed(from: anchor.now, to: now)
        let nanoseconds = UInt64(anchor.wallClock.nanoseconds) &+ elapsed % ProtocolConstants.second
        let seconds =
            elapsed / ProtocolConstants.second &+ nanoseconds / ProtocolConstants.second
        return WallClock(
            seconds: anchor.wallClock.seconds &+ Int64(seconds),
            nanoseconds: UInt32(nanoseconds % ProtocolConstants.second))
    }
}
