import Cryptography
import LinuxNetworking
import Logging
import PacketFormats
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// The cross-platform user-space configuration protocol, as far as it touches the tunnel.
///
/// Source: https://www.wireguard.com/xplatform/.
extension Tunnel {
    /// Carries out one request. Its text was checked as a whole before anything changes.
    func answer(to request: [UInt8]) -> [UInt8] {
        do throws(UAPIError) {
            switch try UAPI.parse(request: request, scope: Self.interfaceIndex) {
            case .get: return UAPI.serialize(status())
            case .status: return UAPI.serialize(engineStatus())
            case .set(let settings):
                defer { finishChanges() }
                try apply(settings)
                return UAPI.successAnswer
            }
        } catch {
            log.error("configuration refused: \(error)")
            return error.answer
        }
    }

    /// Of an IPv6 zone, such as eth0 in fe80::1%eth0.
    private static func interfaceIndex(_ name: String) -> UInt32? {
        try? RoutingNetlink().linkByName(name).index
    }

    private func apply(_ changes: DeviceSettings) throws(UAPIError) {
        let now = Clock.monotonicNanoseconds()
        // What the kernel may refuse comes first: a refused request changes nothing.
        do {
            try applyToSockets(changes)
        } catch {
            throw UAPIError(error)
        }
        if let change = changes.privateKey {
            device.setPrivateKey(change.secret, now: now)
            dropRemovedPeers()
            performActions()
        }
        if changes.replacePeers {
            for id in Array(peers.keys) { remove(id) }
        }
        for peer in changes.peers { apply(peer, now) }
    }

    private func finishChanges() {
        if settings.routesChanged { postRoutes() }
        postCommands()
        performActions()
    }

    /// Tells the workers who gets which packets, and whom to forget.
    private func postRoutes() {
        settings.routesChanged = false
        // Routes first: no worker may look a peer up after it has forgotten it.
        postToAll(
            [.route(RoutingTable(settings.allowedIPs))]
                + settings.removedPeers.map { .removePeer($0) })
        settings.removedPeers = []
    }

    /// Takes up port and mark together or not at all.
    private func applyToSockets(_ changes: DeviceSettings) throws(UDPSocketError) {
        let mark = changes.firewallMark ?? settings.firewallMark
        let port = changes.listenPort ?? settings.listenPort
        // Zero asks for any port: the one that is open will do, and packets under way arrive.
        if let sockets, port == settings.listenPort || port == 0 {
            if mark != settings.firewallMark { try sockets.setFirewallMark(mark) }
        } else if settings.isUp && changes.listenPort != nil {
            try openSockets(port: port, firewallMark: mark)
        } else {
            let asksForPort = changes.listenPort != nil && port != 0
            if asksForPort || mark != settings.firewallMark {
                try probe(port: asksForPort ? port : 0, firewallMark: mark)
            }
            settings.listenPort = port
        }
        settings.firewallMark = mark
    }

    private func apply(_ change: PeerSettings, _ now: UInt64) {
        let known = device.peerID(change.publicKey)
        if change.remove {
            if let known { remove(known) }
            return
        }
        if known == nil && change.updateOnly { return }
        guard let id = known ?? add(change.publicKey, now) else { return }
        if let preshared = change.presharedKey {
            device.setPresharedKey(id, preshared.secret)
        }
        if let endpoint = change.endpoint { setEndpoint(id, endpoint) }
        if let seconds = change.persistentKeepaliveSeconds {
            device.setPersistentKeepalive(id, seconds: seconds, now: now)
        }
        if change.replaceAllowedIPs { removeAllowedIPs(of: id) }
        for allowedIP in change.allowedIPs {
            switch allowedIP {
            case .add(let prefix):
                settings.allowedIPs.insert(prefix, id)
                steering?.set(prefix, queue: device.homeWorker(id))
            case .remove(let prefix):
                if settings.allowedIPs.remove(prefix, id) { steering?.remove(prefix) }
            }
            settings.routesChanged = true
        }
        performActions()
    }

    private func add(_ publicKey: PublicKey, _ now: UInt64) -> PeerID? {
        guard let id = device.addPeer(publicKey, now: now), let activity = device.activity(id)
        else {
            log.notice("a peer with this interface's own public key was ignored")
            return nil
        }
        let peer = PeerState(publicKey: publicKey)
        peers[id] = peer
        // Workers learn of the peer before all else that concerns it.
        for index in workers.indices { pendingCommands[index].append(.addPeer(id, activity)) }
        log.debug("peer \(peer.name) added")
        return id
    }

    /// Removes a peer; workers forget it with the next routes: when the request is carried out, or
    /// before then, so that none of the numbers that rest for a while is still in use by a worker.
    private func remove(_ id: PeerID) {
        let name = peers.removeValue(forKey: id)?.name
        removeAllowedIPs(of: id)
        settings.removedPeers.append(id)
        device.removePeer(id)
        if settings.removedPeers.count >= EngineLimits.removedPeersUnposted { postRoutes() }
        performActions()
        if let name { log.debug("peer \(name) removed") }
    }

    private func removeAllowedIPs(of id: PeerID) {
        if let steering {
            for prefix in settings.allowedIPs.prefixes(of: id) { steering.remove(prefix) }
        }
        settings.allowedIPs.removeAll(of: id)
        settings.routesChanged = true
    }

    /// The protocol removes a peer that has the interface's own key.
    private func dropRemovedPeers() {
        for id in peers.keys.filter({ device.publicKey($0) == nil }) { remove(id) }
    }

    private func setEndpoint(_ id: PeerID, _ endpoint: Endpoint) {
        guard var peer = peers[id] else { return }
        peer.endpoint = endpoint
        peer.localAddress = nil
        peers[id] = peer
        device.setEndpoint(id, endpoint, now: Clock.monotonicNanoseconds())
        postDestination(of: id, peer)
    }

    private func status() -> DeviceStatus {
        DeviceStatus(
            privateKey: device.unsafePrivateKey, listenPort: settings.listenPort,
            firewallMark: settings.firewallMark,
            peers: peers.keys.sorted().compactMap(peerStatus))
    }

    private func peerStatus(_ id: PeerID) -> PeerStatus? {
        guard let peer = peers[id], let activity = device.activity(id) else { return nil }
        let handshake = device.lastHandshake(id)
        return PeerStatus(
            publicKey: peer.publicKey, presharedKey: device.unsafePresharedKey(id),
            endpoint: peer.endpoint,
            lastHandshakeSeconds: UInt64(clamping: handshake?.seconds ?? 0),
            lastHandshakeNanoseconds: handshake?.nanoseconds ?? 0,
            transmittedBytes: activity.transmittedBytes,
            receivedBytes: activity.receivedBytes,
            persistentKeepaliveSeconds: device.persistentKeepalive(id) ?? 0,
            allowedIPs: settings.allowedIPs.prefixes(of: id))
    }

    private func engineStatus() -> EngineStatus {
        var status = EngineStatus(
            version: Release.version, mtu: settings.mtu, socketFault: socketFault?.reason,
            workerCount: workers.count, cipher: cipherSummary,
            offloads: offloadNames, fallbacks: fallbacks,
            uptimeSeconds: (Clock.monotonicNanoseconds() - startedAt) / 1_000_000_000)
        let drops = workers.map(\.drops) + [handshakeDrops]
        for reason in DropReason.allCases {
            status.drops.append(
                .init(reason: reason.name, count: CounterSet.total(of: reason, in: drops)))
        }
        for counter in EngineCounter.allCases where counter.isDrop {
            status.drops.append(
                .init(
                    reason: counter.name,
                    count: CounterSet.total(of: counter, in: workers.map(\.events))))
        }
        status.drops.append(
            .init(
                reason: "socket_overflow",
                count: closedSocketDrops + UInt64(sockets?.kernelDropCount ?? 0)))
        status.peers = peers.keys.sorted().compactMap(peerHealth)
        return status
    }

    private func peerHealth(_ id: PeerID) -> EngineStatus.PeerHealth? {
        guard var peer = peers[id] else { return nil }
        for session in peer.sessions { peer.noteReception(of: session) }
        return EngineStatus.PeerHealth(
            publicKey: peer.publicKey, receivedPackets: peer.receivedPackets,
            lostPackets: peer.lostPackets)
    }

    private var offloadNames: [String] {
        var names = tun.offloads.isEmpty ? [] : ["\(tun.offloads)"]
        if let offloads = sockets?.offloads {
            if offloads.segmentation { names.append("UDP_SEGMENT") }
            if offloads.receiveCoalescing { names.append("UDP_GRO") }
        }
        return names
    }
}

extension UAPIError {
    fileprivate init(_ error: UDPSocketError) {
        let kind: Kind =
            switch error {
            case .portInUse: .addressInUse
            case .notPermitted: .notPermitted
            case .failed: .inputOutput
            }
        self.init(kind, error.description)
    }
}
