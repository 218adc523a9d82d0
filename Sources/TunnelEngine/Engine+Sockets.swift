import LinuxNetworking
import Logging
import PacketFormats
import WireGuardProtocol

/// Opening and closing the UDP port.
extension Engine {
    /// A shared port is open for as long as the engine runs, another while its interface is up.
    private var wantsSockets: Bool {
        isShared || tunnels.values.contains { $0.settings.isUp }
    }

    /// Opens sockets when they are wanted, closes them when not.
    ///
    /// Nobody waits for an answer here, so a port that cannot be opened is tried again for as long
    /// as it is wanted; until then the status says what is wrong.
    func updateSockets() {
        guard wantsSockets else { return closeSockets() }
        guard sockets == nil else { return }
        let earlier = socketFault
        do {
            try openSockets(port: listenPort, firewallMark: firewallMark)
        } catch {
            let fault = SocketFault(error, after: earlier, now: Clock.monotonicNanoseconds())
            if fault.reason != earlier?.reason {
                log.error("no socket: \(fault.reason); it is tried again and again")
            }
            socketFault = fault
            return
        }
        if earlier != nil {
            log.notice("UDP port \(listenPort) is open now")
            let now = Clock.monotonicNanoseconds()
            for tunnel in tunnels.values where tunnel.settings.isUp {
                tunnel.device.startPersistentKeepalives(now: now)
            }
        }
    }

    func retrySockets() {
        guard let fault = socketFault, fault.retryAt <= Clock.monotonicNanoseconds() else { return }
        updateSockets()
    }

    /// Whether the kernel would give port and mark, asked while none is open.
    func probe(port: UInt16, firewallMark: UInt32) throws(UDPSocketError) {
        try UDPSocketGroup.bind(
            port: port, workerCount: options.workers, firewallMark: firewallMark
        ).close()
    }

    /// Opens new sockets in the place of those that are open; a failure leaves these as they are.
    func openSockets(port: UInt16, firewallMark mark: UInt32) throws(UDPSocketError) {
        let group = try UDPSocketGroup.bind(
            port: port, workerCount: options.workers, laneCount: options.laneCount,
            firewallMark: mark,
            buffers: .init(
                receiveByteCount: options.receiveBufferBytes,
                sendByteCount: EngineLimits.sendBufferBytes))
        releaseSockets()
        sockets = group
        handoverGeneration += 1
        socketFault = nil
        listenPort = group.port
        firewallMark = mark
        noteFallbacks(group.fallbacks)
        try? loop.add(
            group.controlSocket.fileDescriptor, token: EventSource.handshakes.token,
            events: .readable)
        for index in workers.indices {
            pendingCommands[index] += [
                .setDatagramsPerSend(group.offloads.segmentCountMax),
                .useSockets(group.lanes(ofWorker: index)),
            ]
        }
        for tunnel in tunnels.values { tunnel.postDestinations() }
        postCommands()
    }

    func closeSockets() {
        socketFault = nil
        guard sockets != nil else { return }
        releaseSockets()
        postToAll(.useSockets([]))
        sockets = nil
        handoverGeneration += 1
    }

    private func releaseSockets() {
        guard let group = sockets else { return }
        closedSocketDrops += UInt64(group.kernelDropCount)
        try? loop.remove(group.controlSocket.fileDescriptor)
        handshakesLeft = 0..<0
        handshakeOutgoing.reset()
    }
}

/// Why no socket is open although the interface is up, and when the next attempt is due.
struct SocketFault {
    let reason: String
    /// Monotonic nanoseconds.
    let retryAt: UInt64
    private let pauseNanoseconds: UInt64

    /// - Parameter earlier: What became of the attempt before, if this is not the first.
    init(_ error: UDPSocketError, after earlier: SocketFault?, now: UInt64) {
        reason = error.description
        pauseNanoseconds =
            earlier.map { min($0.pauseNanoseconds * 2, EngineLimits.socketPauseNanosecondsMax) }
            ?? EngineLimits.socketPauseNanoseconds
        retryAt = now + pauseNanoseconds
    }
}
