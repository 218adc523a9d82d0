import LinuxNetworking
import Logging
import PacketFormats
import WireGuardProtocol

/// Opening and closing the UDP port.
extension Tunnel {
    /// Opens sockets when the interface is up, closes them when it is down.
    ///
    /// Nobody waits for an answer here, so a port that cannot be opened is tried again for as long
    /// as the interface is up; until then the status says what is wrong.
    func updateSockets() {
        guard settings.isUp else { return closeSockets() }
        guard sockets == nil else { return }
        let earlier = socketFault
        do {
            try openSockets(port: settings.listenPort, firewallMark: settings.firewallMark)
        } catch {
            let fault = SocketFault(error, after: earlier, now: Clock.monotonicNanoseconds())
            if fault.reason != earlier?.reason {
                log.error("no socket: \(fault.reason); it is tried again and again")
            }
            socketFault = fault
            return
        }
        if earlier != nil {
            log.notice("UDP port \(settings.listenPort) is open now")
            device.startPersistentKeepalives(now: Clock.monotonicNanoseconds())
        }
    }

    func retrySockets() {
        guard let fault = socketFault, fault.retryAt <= Clock.monotonicNanoseconds() else { return }
        updateSockets()
    }

    /// Whether the kernel would give port and mark, asked while none is open.
    func probe(port: UInt16, firewallMark: UInt32) throws(UDPSocketError) {
        try UDPSocketGroup.bind(
            port: port, dataSockets: options.workers, firewallMark: firewallMark
        ).close()
    }

    /// Opens new sockets in the place of those that are open; a failure leaves these as they are.
    func openSockets(port: UInt16, firewallMark: UInt32) throws(UDPSocketError) {
        let group = try UDPSocketGroup.bind(
            port: port, dataSockets: options.workers, firewallMark: firewallMark,
            buffers: .init(
                receiveByteCount: options.receiveBufferBytes,
                sendByteCount: EngineLimits.sendBufferBytes))
        releaseSockets()
        sockets = group
        socketFault = nil
        settings.listenPort = group.port
        settings.firewallMark = firewallMark
        noteFallbacks(group.fallbacks)
        try? loop.add(
            group.controlSocket.fileDescriptor, token: Self.handshakeToken, events: .readable)
        for (index, socket) in group.dataSockets.enumerated() {
            pendingCommands[index] += [
                .setDatagramsPerSend(group.offloads.segmentCountMax), .useSocket(socket),
            ]
        }
        for (id, peer) in peers { postDestination(of: id, peer) }
        postCommands()
    }

    func closeSockets() {
        socketFault = nil
        guard sockets != nil else { return }
        releaseSockets()
        postToAll([.useSocket(nil)])
        sockets = nil
    }

    private func releaseSockets() {
        guard let group = sockets else { return }
        closedSocketDrops += UInt64(group.kernelDropCount)
        try? loop.remove(group.controlSocket.fileDescriptor)
        handshakeOutgoing.reset()
    }

    /// Prepares the peer's destination for the workers' sockets.
    func postDestination(of id: PeerID, _ peer: PeerState) {
        guard let family = sockets?.family else { return }
        let destination = peer.endpoint.flatMap {
            Destination($0, family: family, source: peer.localAddress)
        }
        for index in workers.indices {
            pendingCommands[index].append(.setDestination(id, destination))
        }
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
