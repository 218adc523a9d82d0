import AccessControl
import Cryptography
import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import Logging
import PacketFormats
import Telemetry
public import WireGuardConfiguration
import WireGuardProtocol

/// The cross-platform user-space configuration protocol, as far as it touches the tunnel.
///
/// Source: https://www.wireguard.com/xplatform/.
extension Tunnel {
    /// Carries out one request. Its text was checked as a whole before anything changes.
    ///
    /// - Returns: `nil` if the connection gets its answer later.
    func answer(to request: [UInt8], on connection: UInt32) -> [UInt8]? {
        do throws(UAPIError) {
            switch try UAPI.parse(request: request, scope: Self.interfaceIndex) {
            case .get: return UAPI.serialize(status())
            case .status: return UAPI.serialize(engineStatus())
            case .qos:
                answerLater(.status, on: connection) { UAPI.serialize($0.qosStatus($1)) }
                return nil
            case .flows(let query):
                answerLater(.flows(FlowFilter(query)), on: connection) {
                    UAPI.serialize($0.flowReports($1))
                }
                return nil
            case .setQoS(let settings):
                defer { finishChanges() }
                use(settings)
                return UAPI.successAnswer
            case .set(let settings):
                try checkProfiles(settings)
                defer { finishChanges() }
                try apply(settings)
                return UAPI.successAnswer
            }
        } catch {
            log.error("configuration refused: \(error)")
            return error.answer
        }
    }

    /// Refuses what could never be spoken, where somebody is there to choose again.
    private func checkProfiles(_ settings: DeviceSettings) throws(UAPIError) {
        let profiles = settings.peers.compactMap(\.profile)
        guard let profile = profiles.first(where: { !$0.isAvailable }) else { return }
        throw UAPIError(
            .invalid, "this machine lacks \(profile.cipherWord); give both ends another Cipher")
    }

    /// Of an IPv6 zone, such as eth0 in fe80::1%eth0.
    private static func interfaceIndex(_ name: String) -> UInt32? {
        try? RoutingNetlink().linkByName(name).index
    }

    /// Carries out a request all but for ``finishChanges()``; one that is refused changes nothing.
    func apply(_ changes: DeviceSettings) throws(UAPIError) {
        let now = Clock.monotonicNanoseconds()
        try checkRotation(changes)
        try engine.checkKey(changes.privateKey?.secret?.publicKey, of: self)
        // What the kernel may refuse comes before all that cannot fail.
        try engine.applyToSockets(changes)
        if let change = changes.privateKey {
            try setPrivateKey(change.secret, rotates: changes.rotatesPrivateKey, now)
            engine.noteKey(of: self)
            dropRemovedPeers()
            performActions()
        }
        if changes.replacePeers {
            let ids = Array(peers.keys)
            // All at once, so that routes which are made in between are made of little.
            for id in ids { removeAllowedIPs(of: id) }
            for id in ids { remove(id) }
        }
        for peer in changes.peers { try apply(peer, now) }
    }

    /// Tells the workers what ``apply(_:)`` changed.
    func finishChanges() {
        if settings.routesChanged {
            reviewSteering()
            postRoutes()
        }
        engine.postCommands()
        performActions()
    }

    /// Tells the workers who gets which packets, and whom to forget.
    private func postRoutes() {
        settings.routesChanged = false
        // Routes first: no worker may look a peer up after it has forgotten it.
        postToAll(
            [.route(RoutingTable(settings.allowedIPs, preferences: settings.preferences))]
                + settings.removedPeers.map { .removePeer($0) })
        settings.removedPeers = []
    }

    private func apply(_ change: PeerSettings, _ now: UInt64) throws(UAPIError) {
        let known = device.peerID(change.publicKey)
        if change.remove {
            if let known { remove(known) }
            return
        }
        if known == nil && change.updateOnly { return }
        let added = known == nil ? try add(change.publicKey, now) : known
        guard let id = added else { return }
        if let successor = change.successorKey { try replacePublicKey(of: id, successor, now) }
        if let preshared = change.presharedKey {
            device.setPresharedKey(id, preshared.secret)
        }
        // Before all that may begin a handshake.
        if let profile = change.profile { setProfile(id, profile, now) }
        if let endpoint = change.endpoint { setEndpoint(id, endpoint) }
        if let seconds = change.persistentKeepaliveSeconds {
            device.setPersistentKeepalive(id, seconds: seconds, now: now)
        }
        changeAllowedIPs(of: id, by: change)
        if let preference = change.preference { prefer(id, preference) }
        performActions()
    }

    /// Leaves the routes alone where nothing changes: making them anew takes the longest of all,
    /// and whoever applies a whole state again would wait for it.
    private func changeAllowedIPs(of id: PeerID, by change: PeerSettings) {
        if change.replaceAllowedIPs {
            let present = settings.allowedIPs.prefixes(of: id)
            let isShared = present.contains { settings.allowedIPs.isShared($0) }
            if !isShared, change.allowedIPs == present.map({ .add($0) }) { return }
            removeAllowedIPs(of: id)
        }
        for allowedIP in change.allowedIPs {
            switch allowedIP {
            case .add(let prefix):
                let isAlone = settings.allowedIPs.owners(of: prefix) == [id]
                if isAlone, !settings.allowedIPs.isShared(prefix) { continue }
                settings.allowedIPs.insert(prefix, id)
                steer(prefix)
            case .share(let prefix):
                guard settings.allowedIPs.share(prefix, id) else { continue }
                steer(prefix)
            case .remove(let prefix):
                guard settings.allowedIPs.remove(prefix, id) else { continue }
                steer(prefix)
            }
            settings.routesChanged = true
        }
    }

    /// Packets to a prefix go to the worker of its owner, or of the first of several.
    func steer(_ prefix: IPPrefix) {
        if let owner = settings.allowedIPs.owner(of: prefix) {
            steering?.set(prefix, queue: worker(for: owner))
        } else {
            steering?.remove(prefix)
        }
    }

    private func prefer(_ id: PeerID, _ preference: PeerSettings.Preference) {
        let wanted = PeerPreference(
            level: preference.level, priority: preference.priority, weight: preference.weight)
        guard settings.preferences.updateValue(wanted, forKey: id) != wanted else { return }
        settings.routesChanged = true
    }

    private func add(_ publicKey: PublicKey, _ now: UInt64) throws(UAPIError) -> PeerID? {
        if let peersMax = limits.limits.peersMax, peers.count >= peersMax {
            throw UAPIError(
                .invalid, "\(name) may have \(peersMax) peers and has them: raise its limit")
        }
        guard let id = device.addPeer(publicKey, now: now), let activity = device.activity(id)
        else {
            log.notice("a peer with this interface's own public key was ignored")
            return nil
        }
        let peer = PeerState(publicKey: publicKey)
        peers[id] = peer
        // Workers learn of the peer before all else that concerns it.
        queueForAll(.addPeer(id, activity))
        queuePeerQoS(id)
        log.debug("peer \(peer.name) added")
        return id
    }

    /// Removes a peer; workers forget it with the next routes: when the request is carried out, or
    /// before then, so that none of the numbers that rest for a while is still in use by a worker.
    private func remove(_ id: PeerID) {
        let name = peers.removeValue(forKey: id)?.name
        removeAllowedIPs(of: id)
        settings.preferences[id] = nil
        settings.removedPeers.append(id)
        engine.followLinkNoMore(to: id, of: self)
        device.removePeer(id)
        if settings.removedPeers.count >= EngineLimits.removedPeersUnposted { postRoutes() }
        performActions()
        if let name { log.debug("peer \(name) removed") }
    }

    private func removeAllowedIPs(of id: PeerID) {
        let prefixes = settings.allowedIPs.prefixes(of: id)
        settings.allowedIPs.removeAll(of: id)
        if steering != nil { for prefix in prefixes { steer(prefix) } }
        settings.routesChanged = true
    }

    /// The protocol removes a peer that has the interface's own key.
    private func dropRemovedPeers() {
        for id in peers.keys.filter({ device.publicKey($0) == nil }) { remove(id) }
    }

    private func setProfile(_ id: PeerID, _ profile: TunnelProfile, _ now: UInt64) {
        device.setProfile(id, profile, now: now)
        guard !profile.isAvailable else { return }
        engine.noteFallbacks([
            "this machine lacks \(profile.cipherWord): peers that have it are not spoken with"
        ])
    }

    private func setEndpoint(_ id: PeerID, _ endpoint: Endpoint) {
        guard var peer = peers[id] else { return }
        peer.endpoint = endpoint
        peer.localAddress = nil
        peers[id] = peer
        device.setEndpoint(id, endpoint, now: Clock.monotonicNanoseconds())
        postDestination(of: id, peer)
    }

    /// The tunnel as it is, keys included; only for the thread of ``run()``, also after its end.
    public func status() -> DeviceStatus {
        DeviceStatus(
            privateKey: device.unsafePrivateKey, listenPort: engine.listenPort,
            firewallMark: engine.firewallMark,
            peers: peers.keys.sorted().compactMap(peerStatus))
    }

    private func peerStatus(_ id: PeerID) -> PeerStatus? {
        guard let peer = peers[id], let activity = device.activity(id) else { return nil }
        let handshake = device.lastHandshake(id)
        return PeerStatus(
            publicKey: peer.publicKey, presharedKey: device.unsafePresharedKey(id),
            profile: device.profile(id) ?? .wireguard, endpoint: peer.endpoint,
            lastHandshakeSeconds: UInt64(clamping: handshake?.seconds ?? 0),
            lastHandshakeNanoseconds: handshake?.nanoseconds ?? 0,
            transmittedBytes: activity.transmittedBytes,
            receivedBytes: activity.receivedBytes,
            persistentKeepaliveSeconds: device.persistentKeepalive(id) ?? 0,
            allowedIPs: settings.allowedIPs.prefixes(of: id))
    }

    private func engineStatus() -> EngineStatus {
        var status = EngineStatus(
            version: Release.version, mtu: settings.mtu, socketFault: engine.socketFault?.reason,
            workerCount: engine.workers.count, cipher: engine.cipherSummary,
            offloads: offloadNames, fallbacks: engine.fallbacks + unlockedSecrets,
            uptimeSeconds: (Clock.monotonicNanoseconds() - engine.startedAt) / 1_000_000_000)
        // What is nobody's is told with the only tunnel, where there is but one.
        let drops = counters.map(\.drops) + [handshakeDrops]
        let events = counters.map(\.events)
        status.drops = engine.isShared
            ? Engine.drops(drops, events) : engine.drops(with: drops, events)
        status.access = access.map(accessStatus)
        status.peers = peers.keys.sorted().compactMap(peerHealth)
        return status
    }

    private var unlockedSecrets: [String] {
        SecureMemory.isLocked
            ? [] : ["some keys can be swapped out: RLIMIT_MEMLOCK is too small for all of them"]
    }

    private func accessStatus(_ filter: AccessFilter) -> EngineStatus.Access {
        EngineStatus.Access(
            connections: filter.state.count(now: Clock.monotonicNanoseconds()),
            connectionsMax: filter.state.capacity, refusedConnections: filter.state.refusedCount,
            denials: filter.denials.filter { $0.count > 0 }.map {
                EngineStatus.Access.Denials(rule: $0.name, count: $0.count)
            })
    }

    private func peerHealth(_ id: PeerID) -> EngineStatus.PeerHealth? {
        guard var peer = peers[id] else { return nil }
        for session in peer.sessions { peer.noteReception(of: session) }
        let now = Clock.monotonicNanoseconds()
        return EngineStatus.PeerHealth(
            publicKey: peer.publicKey, receivedPackets: peer.receivedPackets,
            lostPackets: peer.lostPackets, profile: device.profile(id) ?? .wireguard,
            session: device.currentSession(id).flatMap { EngineStatus.KeyUse($0, now: now) },
            mismatch: device.lastProfileMismatch(id).map {
                EngineStatus.ProfileMismatch($0, at: WallClock.now)
            }, path: pathStatus(id))
    }

    private var offloadNames: [String] {
        var names = tun.offloads.isEmpty ? [] : ["\(tun.offloads)"]
        if let offloads = engine.sockets?.offloads {
            if offloads.segmentation { names.append("UDP_SEGMENT") }
            if offloads.receiveCoalescing { names.append("UDP_GRO") }
        }
        return names
    }
}
