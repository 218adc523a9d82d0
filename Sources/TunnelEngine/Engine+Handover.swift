public import LinuxNetworking
import Logging
import PacketMemory
import SystemPackage
import WireGuardConfiguration
import WireGuardProtocol

/// The old process's side of a handover; see ``HandoverMessage`` for the conversation.
///
/// Everything happens on the control thread. While the new process prepares, the tunnels go on;
/// from the moment at which the workers stop until the new process runs, packets wait in sockets
/// and TUN queues. Nobody waits longer than a few seconds for the other: then the old one goes on.
struct HandoverService {
    let listener: UnixSocketListener
    /// What the new process is told beside the engine's options.
    let note: String
    var dialogue: Dialogue?

    struct Dialogue {
        let socket: UnixSocket
        let process: ProcessHandle
        var stage: Stage
        /// Monotonic nanoseconds.
        var deadline: UInt64
        /// Of what was offered.
        var generation = 0
    }

    enum Stage {
        case hello, ready
    }
}

extension Engine {
    /// Lets a newer process of the same user take the tunnels over; before ``run()``.
    ///
    /// - Parameters:
    ///   - listener: Closed at the end of the engine, or handed over with the rest.
    ///   - note: For the new process, as ``HandoverOffer/note``.
    public func offerHandover(on listener: UnixSocketListener, note: String) throws {
        try loop.add(
            listener.fileDescriptor, token: EventSource.handover.token, events: .readable)
        handover = HandoverService(listener: listener, note: note)
    }

    /// When the other side of a conversation must have said something.
    var handoverDeadline: UInt64? { handover?.dialogue?.deadline }

    func acceptHandover() {
        guard let descriptor = handover?.listener.accept() else { return }
        let socket = UnixSocket(adopting: descriptor)
        guard let peer = try? socket.peerCredentials(), peer.isTrusted else {
            return log.warning("a process of another user asked for the tunnels, in vain")
        }
        guard handover?.dialogue == nil else {
            return HandoverSocket(socket: socket).refuse("another upgrade is under way")
        }
        do {
            // Whoever cannot be ended for certain could go on beside this process.
            let process = try ProcessHandle(peer.processIdentifier)
            try loop.add(
                descriptor, token: EventSource.handoverDialogue.token, events: .readable)
            handover?.dialogue = HandoverService.Dialogue(
                socket: socket, process: process, stage: .hello,
                deadline: Clock.monotonicNanoseconds() + EngineLimits.handoverHelloNanoseconds)
        } catch {
            HandoverSocket(socket: socket).refuse(
                "the old process cannot watch the new one (needs Linux 5.3): \(error)")
        }
    }

    func continueHandover() {
        guard let dialogue = handover?.dialogue else { return }
        let socket = HandoverSocket(socket: dialogue.socket)
        do throws(HandoverError) {
            switch dialogue.stage {
            case .hello:
                try answerHello(socket)
            case .ready:
                try socket.receive(.ready, within: EngineLimits.handoverMessageNanoseconds)
                guard dialogue.generation == handoverGeneration else {
                    throw .refused("tunnels or sockets changed in the meantime; try again")
                }
                try handOver(socket, dialogue)
            }
        } catch {
            socket.refuse("\(error)")
            // Whoever only looks whether somebody listens hangs up at once.
            if dialogue.stage != .hello || error != .hungUp {
                log.error("the tunnels were not handed over: \(error)")
            }
            endDialogue()
        }
    }

    /// Gives up on a process that says nothing any more.
    func expireHandover() {
        guard let dialogue = handover?.dialogue,
            dialogue.deadline <= Clock.monotonicNanoseconds()
        else { return }
        HandoverSocket(socket: dialogue.socket).refuse("it took too long")
        log.error("the tunnels were not handed over: the new process said nothing in time")
        endDialogue()
    }

    private func endDialogue() {
        guard let dialogue = handover?.dialogue else { return }
        try? loop.remove(dialogue.socket.fileDescriptor)
        dialogue.socket.close()
        handover?.dialogue = nil
    }

    // MARK: - Offer

    private func answerHello(_ socket: HandoverSocket) throws(HandoverError) {
        try socket.receive(.hello, within: EngineLimits.handoverMessageNanoseconds) {
            (reader, _) throws(HandoverError) in
            let versions = try HandoverSocket.read { () throws(SnapshotError) in
                [try reader.uint16(), try reader.uint16(), try reader.uint16()]
            }
            guard versions == HandoverOffer.versions else {
                throw .refused(
                    "the running version \(Release.version) writes other formats than the new "
                        + "one reads; restart instead")
            }
        }
        guard let handover else { return }
        let parts = tunnels.values.sorted { $0.number < $1.number }
        let offer = HandoverOffer(
            programVersion: Release.version, note: handover.note, options: options,
            hasSockets: sockets != nil, handoverPath: handover.listener.path,
            tunnels: parts.map {
                .init(
                    number: $0.number, name: $0.name, queueCount: $0.tun.queues.count,
                    listenerPath: $0.listener.path)
            })
        let descriptors = [handover.listener.fileDescriptor] + (sockets?.fileDescriptors ?? [])
            + parts.flatMap { $0.tun.queues.map(\.fileDescriptor) + [$0.listener.fileDescriptor] }
        try socket.send(.offer, passing: descriptors) { offer.write(to: &$0) }
        self.handover?.dialogue?.stage = .ready
        self.handover?.dialogue?.generation = handoverGeneration
        self.handover?.dialogue?.deadline =
            Clock.monotonicNanoseconds() + EngineLimits.handoverReadyNanoseconds
    }

    // MARK: - State

    /// Stops, hands over, and ends; or goes on.
    private func handOver(
        _ socket: HandoverSocket, _ dialogue: HandoverService.Dialogue
    ) throws(HandoverError) {
        let stoppedAt = Clock.monotonicNanoseconds()
        freeze()
        do throws(HandoverError) {
            guard dialogue.generation == handoverGeneration, end == nil,
                tunnels.values.allSatisfy({ $0.end == nil })
            else { throw .refused("tunnels or sockets changed in the meantime; try again") }
            let memory = try exportState()
            // Both have the same memory: let go, it would be wiped for both.
            try withExtendedLifetime(memory) { () throws(HandoverError) in
                try socket.send(.state, passing: [memory.fileDescriptor]) { $0.write(stoppedAt) }
                try socket.receive(.restored, within: EngineLimits.handoverStateNanoseconds)
            }
            // Too small to be sent in part: either the new process can read it, or it cannot.
            try socket.send(.go)
        } catch {
            thaw()
            throw error
        }
        do throws(HandoverError) {
            try socket.receive(.running, within: EngineLimits.handoverStateNanoseconds)
            end = .handedOver
        } catch {
            try recover(dialogue.process, error)
        }
    }

    private func exportState() throws(HandoverError) -> HandoverMemory {
        let now = Clock.monotonicNanoseconds()
        var counting = SnapshotWriter()
        writeState(to: &counting, now: now)
        let memory: HandoverMemory
        do {
            memory = try HandoverMemory(byteCount: counting.count)
        } catch {
            throw .failed("making memory for the state", error)
        }
        withExtendedLifetime(memory) {
            var writer = SnapshotWriter(into: memory.whole)
            writeState(to: &writer, now: now)
        }
        return memory
    }

    /// Goes on after `go`, once the new process has ended for certain: with new sessions, as it may
    /// have sent with any counter of the old ones, and accepted any.
    private func recover(
        _ process: ProcessHandle, _ reason: HandoverError
    ) throws(HandoverError) {
        process.kill()
        guard process.hasEnded(within: EngineLimits.handoverStateNanoseconds) else {
            log.critical("the new process neither runs nor ends: \(reason)")
            end = .handedOver
            return
        }
        let now = Clock.monotonicNanoseconds()
        for tunnel in tunnels.values { tunnel.device.renewAllSessions(now: now) }
        thaw()
        throw reason
    }

    /// Stops the workers, takes in what they reported, and leaves nothing half done.
    private func freeze() {
        pendingCommands = workers.map { _ in [] }
        for link in workers { link.post([.finish]) }
        for thread in threads { thread.join() }
        threads = []
        readInbox()
        for tunnel in tunnels.values {
            tunnel.readLinkChanges()
            tunnel.finishReports()
            tunnel.finishChanges()
            tunnel.settings.removedPeers = []
        }
        flushHandshakes()
        // No worker is left to read it, and those to come begin with the whole state.
        for link in workers { _ = link.takeCommands() }
        pendingCommands = workers.map { _ in [] }
        for leaving in leavingTunnels.values { leaving.tunnel.close() }
        leavingTunnels = [:]
    }

    /// Goes on in this process.
    private func thaw() {
        do {
            for index in workers.indices { threads.append(try startWorker(index)) }
            try goOn()
        } catch {
            log.critical("the workers cannot be started again: \(error)")
            end = .stopped
        }
    }

    /// Tells new workers everything; from here on packets pass.
    func goOn() throws {
        for tunnel in tunnels.values { tunnel.attachSteering() }
        for index in workers.indices {
            guard let sockets else { continue }
            pendingCommands[index] += [
                .setDatagramsPerSend(sockets.offloads.segmentCountMax),
                .useSockets(sockets.lanes(ofWorker: index)),
            ]
        }
        queueLink()
        for tunnel in tunnels.values { tunnel.announceAll() }
        postCommands()
    }

    /// Lets go of what another process has now, and leaves it as it is.
    func letGo() {
        control.end()
        for tunnel in tunnels.values {
            tunnel.control.noteHandover()
            tunnel.control.end()
            for connection in tunnel.connections.values { connection.close() }
            tunnel.listener.closeKeepingFile()
            tunnel.tun.close()
        }
        sockets?.close()
        handover?.listener.closeKeepingFile()
    }
}

extension HandoverOffer {
    /// The conversation's, the engine's state's, the devices'.
    static let versions = [HandoverMessage.version, EngineSnapshot.version, DeviceSnapshot.version]
}

extension Tunnel {
    /// Tells workers that know nothing of the tunnel all there is; queued, not posted, so that they
    /// take it up as a whole.
    fileprivate func announceAll() {
        for index in engine.workers.indices {
            engine.pendingCommands[index].append(.addTunnel(port(forWorker: index)))
        }
        queueQoS()
        if let access { queueForAll(.setAccess(access)) }
        if let probeMarks { queueForAll(.watchAnswers(probeMarks)) }
        queueForAll(
            .route(RoutingTable(settings.allowedIPs, preferences: settings.preferences)))
        settings.routesChanged = false
        for id in peers.keys.sorted() {
            guard let activity = device.activity(id), let peer = peers[id] else { continue }
            queueForAll(.addPeer(id, activity))
            queuePeerQoS(id)
            postDestination(of: id, peer)
            peers[id]?.sessions = []
        }
        device.announceSessions()
        while let action = device.actions.popFirst() { queue(action) }
    }

    /// Gives the device our steering in the place of another process's.
    fileprivate func attachSteering() {
        guard let steering else { return }
        do {
            try steering.attach(to: tun)
        } catch {
            engine.noteFallbacks(["flows may change TUN queues: \(error)"])
        }
    }
}
