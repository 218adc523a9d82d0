import Cryptography
public import PacketFormats

/// Which sessions a peer has: the one to send with, those before it, and one made as responder
/// that waits for its first packet.
///
/// Initiations of both ends can cross, and then there are two new sessions. Both ends must send
/// with the same: each renewing its own, they would cross again at every renewal. Two rules settle
/// it in any order of arrival. The end with the lesser public key does not complete its handshake
/// while it has a session that the other end began and may already send with; and no end goes back
/// from its current session to one that it made before. Other implementations understand both.
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

    /// Whether a response to our initiation is left alone, as the peer's initiation crossed ours
    /// and its session is to be the one.
    ///
    /// The initiation stays pending: if the peer does not confirm its session in time, ours is
    /// repeated, and then its response is taken.
    func yields(_ initiation: PendingInitiation, of peer: Peer, now: UInt64) -> Bool {
        guard let own = privateKey?.publicKey, own < peer.publicKey, let next = peer.next,
            next.createdAt <= now
        else { return false }
        return MonotonicTime.elapsed(from: next.createdAt, to: initiation.sentAt)
            < ImplementationLimits.initiationCrossingNanoseconds
    }

    /// Reports from where an authenticated packet came, if not from the known endpoint.
    public func endpointChanged(_ id: PeerID, _ endpoint: Endpoint) {
        guard let peer = peer(id) else { return }
        move(peer, to: endpoint)
    }

    func move(_ peer: Peer, to endpoint: Endpoint?) {
        guard peer.endpoint != endpoint else { return }
        peer.endpoint = endpoint
        actions.append(.endpointChanged(peer.id, endpoint))
    }

    /// Takes over a session that we made as initiator: both ends have the keys.
    func installInitiated(_ session: Session, of peer: Peer, now: UInt64) {
        var outdated = demote(peer.current, of: peer, now: now)
        if let next = peer.next {
            // The peer may already send with the unconfirmed one, which is newer than the current.
            outdated += demote(next, of: peer, now: now)
            peer.next = nil
        }
        peer.current = session
        actions.append(.install(session, use: .sending))
        for session in outdated { retire(session) }
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

    /// Makes `session` the previous one, for packets still under way.
    ///
    /// - Returns: Those to retire: all before it, but for one that was sent with until a moment
    ///   ago, as before a crossing.
    private func demote(_ session: Session?, of peer: Peer, now: UInt64) -> [Session?] {
        guard let session else { return [] }
        var outdated = [peer.oldest]
        peer.oldest = peer.previous
        let age = MonotonicTime.elapsed(from: peer.demotedAt, to: now)
        if age >= ProtocolConstants.rekeyTimeout {
            outdated.append(peer.oldest)
            peer.oldest = nil
        }
        peer.previous = session
        peer.demotedAt = now
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
        peer.previous = nil
        peer.oldest = nil
        peer.next = nil
    }

    func dropPending(_ peer: Peer) {
        if let pending = peer.pending { indices[pending.localIndex] = nil }
        peer.pending = nil
    }

    /// What follows when both ends are known to hold new keys.
    func completeHandshake(_ peer: Peer, now: UInt64) {
        dropPending(peer)
        schedule(peer, .handshake, at: nil)
        peer.lastHandshake = wallClock(at: now)
        peer.activity.clear(PeerActivity.Flag.handshakeRequested)
    }

    /// Frees a session's index, after its successor has been announced.
    private func retire(_ session: Session?) {
        guard let session else { return }
        session.retire()
        indices[session.localIndex] = nil
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
