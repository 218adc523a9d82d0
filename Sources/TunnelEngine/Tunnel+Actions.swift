import LinuxNetworking
import Logging
import PacketFormats
import WireGuardProtocol

extension Tunnel {
    /// Does what the protocol wants done, in order: a session reaches the workers before the
    /// message that lets the peer use it reaches the network.
    func performActions() {
        guard !device.actions.isEmpty else { return }
        perform()
        engine.flushHandshakes()
    }

    /// As ``performActions()``, but messages leave when the batch is full or flushed.
    ///
    /// - Parameters:
    ///   - source: Who sent the message that the actions come from, if one did.
    ///   - local: The address of ours it was sent to: answers leave from there.
    func perform(answering source: Endpoint? = nil, from local: LocalAddress? = nil) {
        while let action = device.actions.popFirst() {
            switch action {
            case .sendHandshake(let message, let endpoint, let peer):
                engine.postCommands()
                let sticky = endpoint == source ? local : peer.flatMap { peers[$0]?.localAddress }
                engine.send(message, to: endpoint, from: sticky)
                log.trace("\(message.kind) to \(endpoint)")
            case .endpointChanged(let id, let endpoint):
                noteEndpoint(id, endpoint, endpoint == source ? local : nil)
            default:
                queue(action)
            }
        }
        engine.postCommands()
    }

    func queue(_ action: Action) {
        switch action {
        case .install(let session, let use):
            queueForAll(.install(session))
            peers[session.peer]?.sessions.append(session)
            guard case .sending = use else { return }
            queueForAll(.send(session.peer, with: session))
            noteEstablished(session)
        case .promote(let session):
            queueForAll(.send(session.peer, with: session))
            noteEstablished(session)
            queueForAll(.sendStaged(session.peer, confirming: false))
        case .retire(let session):
            noteEnd(of: session)
            queueForAll(.retire(session))
        case .stopSending(let peer):
            queueForAll(.send(peer, with: nil))
        case .sendStagedOrKeepalive(let peer), .sendKeepalive(let peer):
            // A worker with packets confirms the session by them; elsewhere a keepalive would
            // come before them.
            let confirming = device.activity(peer)?.holdingWorker ?? device.homeWorker(peer)
            for index in engine.workers.indices {
                queue(.sendStaged(peer, confirming: index == confirming), for: index)
            }
        case .discardStaged(let peer):
            queueForAll(.discardStaged(peer))
        case .sendProbe(let peer, let probe):
            engine.followLinkProbed(now: Clock.monotonicNanoseconds())
            queue(.probe(peer, probe), for: device.homeWorker(peer))
        case .limitPackets(let peer, let byteCount):
            noteLimit(byteCount, of: peer)
            queueForAll(.limitPackets(peer, byteCount: byteCount))
        case .sendHandshake, .endpointChanged:
            break
        }
    }

    /// Tells of a session once: putting the workers back in line promotes it again.
    private func noteEstablished(_ session: Session) {
        guard let peer = peers[session.peer], peer.establishedIndex != session.localIndex else {
            return
        }
        peers[session.peer]?.establishedIndex = session.localIndex
        log.info("peer \(peer.name): session established")
    }

    /// Keeps the session's share of the peer's loss estimate.
    private func noteEnd(of session: Session) {
        guard let place = peers[session.peer]?.sessions.firstIndex(where: { $0 === session })
        else { return }
        peers[session.peer]?.sessions.remove(at: place)
        peers[session.peer]?.noteReception(of: session)
    }

    private func noteEndpoint(_ id: PeerID, _ endpoint: Endpoint?, _ local: LocalAddress?) {
        guard var peer = peers[id] else { return }
        if peer.endpoint != endpoint { engine.followLinkNoMore(to: id, of: self) }
        if peer.endpoint != endpoint || local != nil { peer.localAddress = local }
        peer.endpoint = endpoint
        peers[id] = peer
        postDestination(of: id, peer)
    }
}

extension Tunnel {
    /// Prepares the peer's destination for the workers' sockets.
    func postDestination(of id: PeerID, _ peer: PeerState) {
        guard let family = engine.sockets?.family else { return }
        let destination = peer.endpoint.flatMap {
            Destination($0, family: family, source: peer.localAddress)
        }
        queueForAll(.setDestination(id, destination))
    }

    func postDestinations() {
        for (id, peer) in peers { postDestination(of: id, peer) }
    }
}

extension PeerState {
    /// Adds what one session received, and what it must have lost.
    mutating func noteReception(of session: Session) {
        session.withReplayWindow { window in
            receivedPackets &+= window.acceptedCount
            lostPackets &+= window.missingCount
        }
    }
}
