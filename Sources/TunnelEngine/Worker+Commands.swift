import LinuxNetworking
import WireGuardProtocol

extension Worker {
    /// Applies everything that was posted until now, in order.
    ///
    /// - Returns: `true` if there was a command; frames may have become ready to leave.
    @discardableResult
    mutating func applyCommands() -> Bool {
        let posted = link.postedCount
        guard posted != appliedCommands else { return false }
        appliedCommands = posted
        for command in link.takeCommands() { apply(command) }
        return true
    }

    private mutating func apply(_ command: WorkerCommand) {
        switch command {
        case .route(let table):
            routes = table
        case .addPeer(let peer, let activity):
            peers.reserve(peer)
            peers[peer].activity = activity
        case .removePeer(let peer):
            guard peers.contains(peer) else { return }
            discardStaged(peer)
            peers[peer] = WorkerPeer()
        case .setDestination(let peer, let destination):
            guard peers.contains(peer) else { return }
            peers[peer].destination = destination
        case .install(let session):
            sessions.insert(session)
            if !session.isInitiator, peers.contains(session.peer) {
                peers[session.peer].next = session
            }
        case .send(let peer, let session):
            guard peers.contains(peer) else { return }
            peers[peer].session = session
            if peers[peer].next?.isConfirmed == true { peers[peer].next = nil }
        case .retire(let session):
            sessions.remove(session.localIndex)
            if peers.contains(session.peer), peers[session.peer].next === session {
                peers[session.peer].next = nil
            }
        case .sendStaged(let peer, let confirming):
            sendStaged(peer, confirming: confirming)
        case .discardStaged(let peer):
            discardStaged(peer)
        case .setDatagramsPerSend(let limit):
            datagramsPerSend = max(limit, EngineLimits.datagramsPerSend)
        case .useSocket(let newSocket):
            use(newSocket)
        case .setMTU(let bytes):
            mtu = bytes
        case .receive(let bytes):
            receiveStray(bytes)
        case .stop:
            isStopping = true
        }
    }

    private mutating func use(_ newSocket: UDPSocket?) {
        if let socket { try? loop.remove(socket.fileDescriptor) }
        sends.removeAll()
        run = DatagramRun()
        isSendBlocked = false
        socket = newSocket
        if let newSocket {
            try? loop.add(
                newSocket.fileDescriptor, token: Self.socketToken, events: .readable)
        }
    }

    /// Keeps a frame until its peer has a session; the oldest gives way to the newest.
    mutating func stage(_ slot: Int32, for peer: PeerID) {
        if stagedCount >= EngineLimits.stagedFramesPerWorker
            || (peers[peer].staged?.count ?? 0) >= EngineLimits.stagedFramesPerPeer
            || (frames.isLarge(slot) && stagedLargeCount >= EngineLimits.stagedLargeFramesPerWorker)
        {
            count(DropReason.stagedQueueFull)
            guard let oldest = peers[peer].staged?.first else { return frames.release(slot) }
            peers[peer].staged?.removeFirst()
            noteUnstaged(oldest)
            frames.release(oldest)
            if frames.isLarge(slot)
                && stagedLargeCount >= EngineLimits.stagedLargeFramesPerWorker
            {
                if peers[peer].staged?.isEmpty == true { forgetStaged(peer) }
                return frames.release(slot)
            }
        }
        if peers[peer].staged == nil {
            peers[peer].staged = []
            peers[peer].activity?.setHolding(true, worker: index)
        }
        peers[peer].staged?.append(slot)
        stagedCount += 1
        if frames.isLarge(slot) { stagedLargeCount += 1 }
    }

    /// Puts the peer's waiting frames back into the scheduler, in order, now that they can leave.
    private mutating func sendStaged(_ peer: PeerID, confirming: Bool) {
        guard peers.contains(peer) else { return }
        let waiting = peers[peer].staged ?? []
        forgetStaged(peer)
        if waiting.isEmpty && confirming { sendKeepalive(to: peer) }
        for slot in waiting {
            noteUnstaged(slot)
            enqueue(slot)
        }
    }

    mutating func discardStaged(_ peer: PeerID) {
        guard peers.contains(peer), let waiting = peers[peer].staged else { return }
        forgetStaged(peer)
        for slot in waiting {
            noteUnstaged(slot)
            frames.release(slot)
        }
        count(DropReason.handshakeFailed, waiting.count)
    }

    private mutating func forgetStaged(_ peer: PeerID) {
        peers[peer].staged = nil
        peers[peer].activity?.setHolding(false, worker: index)
    }

    private mutating func noteUnstaged(_ slot: Int32) {
        stagedCount -= 1
        if frames.isLarge(slot) { stagedLargeCount -= 1 }
    }
}
