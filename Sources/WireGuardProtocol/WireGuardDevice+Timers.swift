
/// The timers, as a table of deadlines for each peer.
///
/// Those that packets move are evaluated when they are due: each looks at the stamps of the data
/// path, and either acts, or goes on waiting, or is disarmed until the data path asks again.
///
/// Source: WireGuard paper, section 6.
extension WireGuardDevice {
    /// Monotonic nanoseconds at which ``advance(now:wallClock:)`` must be called; `nil` for never.
    public var nextDeadline: UInt64? { deadlines.first?.deadline }

    /// Does what is due. Call it as well after ``noteActivity(_:now:)``, once for all peers.
    public func advance(now: UInt64, wallClock: WallClock) {
        wallClockAnchor = (now, wallClock)
        // Every deadline that is handled ends up later than `now`, or nowhere.
        while let (deadline, id) = deadlines.first, deadline <= now {
            guard let peer = peer(id) else {
                deadlines.set(nil, for: id)
                continue
            }
            for kind in PeerDeadlines.Kind.allCases {
                guard let due = peer.deadlines[kind], due <= now else { continue }
                peer.deadlines[kind] = nil
                handle(kind, of: peer, now: now, wallClock: wallClock)
            }
            deadlines.set(peer.deadlines.earliest, for: id)
        }
    }

    /// Takes up what the peer's ``PeerActivity`` asked for by returning `true`.
    ///
    /// A handshake that it asked for begins at the next ``advance(now:wallClock:)``, unless there
    /// is a new session by now.
    public func noteActivity(_ id: PeerID, now: UInt64) {
        guard let peer = peer(id) else { return }
        let activity = peer.activity
        if activity.isSet(PeerActivity.Flag.handshakeRequested), peer.pending == nil,
            peer.deadlines[.handshake] == nil
        {
            if peer.current?.isFresh(now: now) == true {
                // A worker that had not heard of it yet asked once more.
                activity.clear(PeerActivity.Flag.handshakeRequested)
            } else {
                schedule(peer, .handshake, at: now)
            }
        }
        wakePath(of: peer, now: now)
        if activity.isSet(PeerActivity.Flag.answerTimer), peer.deadlines[.answer] == nil {
            let since = activity.owedSince(.answer, now: now)
            let timeout = ProtocolConstants.newHandshakeTimeout + jitter()
            schedule(
                peer, .answer, at: MonotonicTime.adding(timeout, to: since == 0 ? now : since))
        }
        if activity.isSet(PeerActivity.Flag.keepaliveTimer), peer.deadlines[.keepalive] == nil {
            let since = activity.owedSince(.keepalive, now: now)
            schedule(
                peer, .keepalive,
                at: MonotonicTime.adding(
                    ProtocolConstants.keepaliveTimeout, to: since == 0 ? now : since))
        }
    }

    func schedule(_ peer: Peer, _ kind: PeerDeadlines.Kind, at deadline: UInt64?) {
        peer.deadlines[kind] = deadline
        deadlines.set(peer.deadlines.earliest, for: peer.id)
    }

    /// A random delay, so that two ends do not keep colliding.
    func jitter() -> UInt64 { random.below(ProtocolConstants.rekeyJitterMax + 1) }

    private func handle(
        _ kind: PeerDeadlines.Kind, of peer: Peer, now: UInt64, wallClock: WallClock
    ) {
        switch kind {
        case .handshake: handshakeDue(peer, now: now, wallClock: wallClock)
        case .answer: answerDue(peer, now: now, wallClock: wallClock)
        case .keepalive: keepaliveDue(peer, now: now)
        case .persistentKeepalive: persistentKeepaliveDue(peer, now: now, wallClock: wallClock)
        case .zeroKeys: retireSessions(of: peer)
        case .path: pathDue(peer, now: now)
        }
    }

    private func handshakeDue(_ peer: Peer, now: UInt64, wallClock: WallClock) {
        guard peer.pending != nil else {
            return beginHandshake(peer, now: now, wallClock: wallClock)
        }
        let attemptAge = MonotonicTime.elapsed(from: peer.attemptStartedAt, to: now)
        if attemptAge >= ProtocolConstants.rekeyAttemptTime {
            giveUp(peer, now: now)
        } else {
            sendInitiation(peer, now: now, wallClock: wallClock)
        }
    }

    /// Ends an attempt that had no answer for its whole time, or cannot be made.
    func giveUp(_ peer: Peer, now: UInt64) {
        dropPending(peer)
        peer.activity.clear(PeerActivity.Flag.handshakeRequested)
        actions.append(.discardStaged(peer.id))
        if peer.deadlines[.zeroKeys] == nil {
            schedule(
                peer, .zeroKeys,
                at: MonotonicTime.adding(ProtocolConstants.zeroKeysAfterTime, to: now))
        }
    }

    private func answerDue(_ peer: Peer, now: UInt64, wallClock: WallClock) {
        let since = peer.activity.owedSince(.answer, now: now)
        let due = MonotonicTime.adding(ProtocolConstants.newHandshakeTimeout, to: since)
        if since != 0, due > now {
            return schedule(peer, .answer, at: MonotonicTime.adding(jitter(), to: due))
        }
        if since != 0 {
            // The peer went silent. What is sent from now on is a new debt.
            peer.activity.settle(.answer)
            beginHandshake(peer, now: now, wallClock: wallClock)
        }
        let renewed = peer.activity.disarm(.answer, now: now)
        guard renewed != 0 else { return }
        schedule(
            peer, .answer,
            at: MonotonicTime.adding(ProtocolConstants.newHandshakeTimeout + jitter(), to: renewed))
    }

    private func keepaliveDue(_ peer: Peer, now: UInt64) {
        let since = peer.activity.owedSince(.keepalive, now: now)
        let due = MonotonicTime.adding(ProtocolConstants.keepaliveTimeout, to: since)
        if since != 0, due > now { return schedule(peer, .keepalive, at: due) }
        if since != 0 {
            peer.activity.settle(.keepalive)
            // Without a live session the peer finds out by itself: it waits for an answer.
            if peer.current?.isUsableForSending(now: now) == true {
                actions.append(.sendKeepalive(peer.id))
            }
        }
        let renewed = peer.activity.disarm(.keepalive, now: now)
        guard renewed != 0 else { return }
        schedule(
            peer, .keepalive,
            at: MonotonicTime.adding(ProtocolConstants.keepaliveTimeout, to: renewed))
    }

    private func persistentKeepaliveDue(_ peer: Peer, now: UInt64, wallClock: WallClock) {
        guard peer.persistentKeepaliveSeconds > 0 else { return }
        let interval = UInt64(peer.persistentKeepaliveSeconds) * ProtocolConstants.second
        let last = min(peer.activity.lastTraversal, now)
        let due = MonotonicTime.adding(interval, to: last)
        if last != 0, due > now { return schedule(peer, .persistentKeepalive, at: due) }
        schedule(peer, .persistentKeepalive, at: MonotonicTime.adding(interval, to: now))
        if let current = peer.current, current.isUsableForSending(now: now) {
            actions.append(.sendKeepalive(peer.id))
            if !current.needsRekeyAfterSending(now: now) { return }
        }
        beginHandshake(peer, now: now, wallClock: wallClock)
    }
}
