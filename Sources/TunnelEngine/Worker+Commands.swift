import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import PacketFormats
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
        forgetRemovedPeers()
        return true
    }

    private mutating func apply(_ command: WorkerCommand) {
        switch command {
        case .addTunnel(let port):
            add(port)
        case .removeTunnel(let tunnel):
            forgetRemovedPeers()
            remove(tunnel)
        case .tunnel(let tunnel, let command):
            guard tunnels.contains(tunnel) else { return }
            apply(command, of: tunnel)
        case .setDatagramsPerSend(let limit):
            datagramsPerSend = max(limit, EngineLimits.datagramsPerSend)
        case .setLink(let line):
            setLink(line)
        case .useSockets(let sockets):
            use(sockets)
        case .receive(let bytes):
            receiveStray(bytes)
        case .finish:
            finishBy = Clock.monotonicNanoseconds() + EngineLimits.finishNanoseconds
        case .stop:
            isStopping = true
        }
    }

    private mutating func apply(_ command: TunnelCommand, of tunnel: TunnelID) {
        switch command {
        case .route(let table):
            tunnels[tunnel].use(table)
        case .addPeer(let peer, let activity):
            forgetRemovedPeers()
            tunnels[tunnel].peers.reserve(peer)
            tunnels[tunnel].peers[peer].activity = activity
        case .removePeer(let peer):
            guard tunnels[tunnel].peers.contains(peer) else { return }
            discardStaged(peer, of: tunnel)
            forgetQoS(of: peer, of: tunnel)
            tunnels[tunnel].peers[peer] = WorkerPeer()
        case .setDestination(let peer, let destination):
            guard tunnels[tunnel].peers.contains(peer) else { return }
            tunnels[tunnel].peers[peer].destination = destination
        case .install(let session):
            sessions.insert(session)
            if !session.isInitiator, tunnels[tunnel].peers.contains(session.peer) {
                tunnels[tunnel].peers[session.peer].next = session
            }
        case .send(let peer, let session):
            guard tunnels[tunnel].peers.contains(peer) else { return }
            tunnels[tunnel].peers[peer].session = session
            if tunnels[tunnel].peers[peer].next?.isConfirmed == true {
                tunnels[tunnel].peers[peer].next = nil
            }
        case .retire(let session):
            sessions.remove(session.localIndex)
            if tunnels[tunnel].peers.contains(session.peer),
                tunnels[tunnel].peers[session.peer].next === session
            {
                tunnels[tunnel].peers[session.peer].next = nil
            }
        case .sendStaged(let peer, let confirming):
            sendStaged(peer, of: tunnel, confirming: confirming)
        case .discardStaged(let peer):
            discardStaged(peer, of: tunnel)
        case .setMTU(let bytes):
            tunnels[tunnel].mtu = bytes
        case .setUp(let isUp):
            tunnels[tunnel].isUp = isUp
        case .setLimits(let limits):
            tunnels[tunnel].use(limits)
            queues.setLimits(limits.limits, meters: limits.outward, of: Int(tunnel))
            weighLanes()
        case .setAccess(let filter):
            tunnels[tunnel].access = filter
        case .watchAnswers(let marks):
            tunnels[tunnel].probeMarks = marks
        case .inject(let peer, let packet):
            inject(packet, to: peer, of: tunnel)
        case .probe(let peer, let probe):
            send(probe, to: peer, of: tunnel)
        case .limitPackets(let peer, let byteCount):
            guard tunnels[tunnel].peers.contains(peer) else { return }
            tunnels[tunnel].peers[peer].packetMax = Int32(clamping: byteCount)
        case .setQoS(let qos):
            setQoS(qos, of: tunnel)
        case .setPeerQoS(let peer, let qos):
            setQoS(qos, to: peer, of: tunnel)
        case .report(let number, let request):
            forgetRemovedPeers()
            post(.report(tunnel, number, report(request, of: tunnel)))
        }
    }

    private mutating func add(_ port: TunnelPort) {
        tunnels.insert(WorkerTunnel(port))
        queues.add(
            tenant: Int(port.number), limits: port.limits.limits, meters: port.limits.outward)
        trimStaged()
        weighLanes()
        try? (sources?.devices ?? loop).add(
            port.tun.fileDescriptor, token: Self.tunToken | UInt64(port.number), events: .readable)
    }

    /// Gives up all that is the tunnel's, and says so.
    private mutating func remove(_ tunnel: TunnelID) {
        guard tunnels.contains(tunnel) else { return }
        if !tunnels[tunnel].isDeviceGone {
            try? (sources?.devices ?? loop).remove(tunnels[tunnel].tun.fileDescriptor)
        }
        if coalescing == tunnel { deliver() }
        received.disown(tunnel)
        for peer in tunnels[tunnel].peers.numbers { discardStaged(peer, of: tunnel) }
        queues.remove(tenant: Int(tunnel)) { frames.release($0) }
        flows.remove(tunnel: Int(tunnel))
        sessions.removeAll(of: tunnel)
        coalescing = ReceiveQueue.nobody
        tunnels.remove(tunnel)
        weighLanes()
        post(.tunnelForgotten(tunnel))
    }

    /// Takes back what tunnels have staged beyond their share, which is smaller now.
    private mutating func trimStaged() {
        for tunnel in tunnels.numbers where exceedsShare(tunnel) {
            for peer in tunnels[tunnel].peers.numbers where exceedsShare(tunnel) {
                discardStaged(peer, of: tunnel)
            }
        }
    }

    private mutating func exceedsShare(_ tunnel: TunnelID) -> Bool {
        tunnels[tunnel].stagedCount > stagedMax(EngineLimits.stagedFramesPerWorker)
            || tunnels[tunnel].stagedLargeCount
                > stagedMax(EngineLimits.stagedLargeFramesPerWorker)
    }

    /// Frames that one tunnel may keep: an equal share of all, and all where there is no other.
    private mutating func stagedMax(_ all: Int) -> Int { max(all / max(tunnels.count, 1), 1) }

    /// Keeps a frame until its peer has a session; the oldest gives way to the newest.
    mutating func stage(_ slot: Int32, for peer: PeerID, of tunnel: TunnelID) {
        let largeMax = stagedMax(EngineLimits.stagedLargeFramesPerWorker)
        let isLarge = frames.isLarge(slot)
        if tunnels[tunnel].stagedCount >= stagedMax(EngineLimits.stagedFramesPerWorker)
            || (tunnels[tunnel].peers[peer].staged?.count ?? 0) >= EngineLimits.stagedFramesPerPeer
            || (isLarge && tunnels[tunnel].stagedLargeCount >= largeMax)
        {
            count(DropReason.stagedQueueFull, of: tunnel)
            guard let oldest = tunnels[tunnel].peers[peer].staged?.first else {
                return frames.release(slot)
            }
            tunnels[tunnel].peers[peer].staged?.removeFirst()
            noteUnstaged(oldest, of: tunnel)
            frames.release(oldest)
            if isLarge && tunnels[tunnel].stagedLargeCount >= largeMax {
                if tunnels[tunnel].peers[peer].staged?.isEmpty == true {
                    forgetStaged(peer, of: tunnel)
                }
                return frames.release(slot)
            }
        }
        if tunnels[tunnel].peers[peer].staged == nil {
            tunnels[tunnel].peers[peer].staged = []
            tunnels[tunnel].peers[peer].activity?.setHolding(true, worker: index)
        }
        tunnels[tunnel].peers[peer].staged?.append(slot)
        tunnels[tunnel].stagedCount += 1
        if isLarge { tunnels[tunnel].stagedLargeCount += 1 }
    }

    /// Puts the peer's waiting frames back into the scheduler, in order, now that they can leave.
    private mutating func sendStaged(_ peer: PeerID, of tunnel: TunnelID, confirming: Bool) {
        guard tunnels[tunnel].peers.contains(peer) else { return }
        let waiting = tunnels[tunnel].peers[peer].staged ?? []
        forgetStaged(peer, of: tunnel)
        if waiting.isEmpty && confirming { sendKeepalive(to: peer, of: tunnel) }
        for slot in waiting {
            noteUnstaged(slot, of: tunnel)
            enqueue(slot, places[Int(slot)], of: tunnel)
        }
    }

    mutating func discardStaged(_ peer: PeerID, of tunnel: TunnelID) {
        guard tunnels[tunnel].peers.contains(peer),
            let waiting = tunnels[tunnel].peers[peer].staged
        else { return }
        forgetStaged(peer, of: tunnel)
        for slot in waiting {
            noteUnstaged(slot, of: tunnel)
            frames.release(slot)
        }
        count(DropReason.handshakeFailed, waiting.count, of: tunnel)
    }

    private mutating func forgetStaged(_ peer: PeerID, of tunnel: TunnelID) {
        tunnels[tunnel].peers[peer].staged = nil
        tunnels[tunnel].peers[peer].activity?.setHolding(false, worker: index)
    }

    private mutating func noteUnstaged(_ slot: Int32, of tunnel: TunnelID) {
        tunnels[tunnel].stagedCount -= 1
        if frames.isLarge(slot) { tunnels[tunnel].stagedLargeCount -= 1 }
    }
}
