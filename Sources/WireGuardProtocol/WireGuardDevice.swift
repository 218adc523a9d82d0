public import Cryptography
public import PacketFormats
import PacketMemory

/// The whole control side of one device: keys, peers, handshakes, timers, sessions.
///
/// One thread owns it. It neither reads a clock nor sends: time, datagrams and reports of the data
/// path come in as arguments, and what is to be done goes out through ``actions``, which the owner
/// empties in order after every call. It must call ``advance(now:wallClock:)`` whenever
/// ``nextDeadline`` has come.
///
/// Source: WireGuard paper, sections 5 and 6.
public final class WireGuardDevice {
    /// Its number among the devices that share ``indices``.
    public let tunnel: TunnelID
    /// Where its datagrams arrive.
    public let placement: ReceivePlacement
    /// What is to be done.
    public var actions = ActionQueue()

    let random: RandomSource
    var privateKey: PrivateKey?
    var cookieChecker: CookieChecker?
    var rateLimiter = HandshakeRateLimiter()
    var peers: [Peer?] = []
    var peerIDs: [PublicKey: PeerID] = [:]
    var restingPeerIDs = RestingPeerIDs()
    /// Whose session or initiation each local index stands for.
    let indices: LocalIndices
    var deadlines = DeadlineHeap()
    /// No initiation of ours carries an earlier timestamp, whatever the wall clock does.
    var timestampFloor = TAI64N()
    /// The wall clock at a monotonic moment, to tell it for moments shortly after.
    var wallClockAnchor: (now: UInt64, wallClock: WallClock)?
    let noPresharedKey = PresharedKey(Secret32())
    let scratch = HandshakeScratch()
    /// The longest inner packet, padding included, in bytes.
    var packetMax = 1_420
    /// Between probes of a path with traffic, in nanoseconds.
    var pathInterval = PathMonitor.activeInterval

    /// - Parameters:
    ///   - tunnel: Differs between devices that share `indices`.
    ///   - random: Of keys, indices, nonces and jitter.
    public init(
        tunnel: TunnelID = 0, placement: ReceivePlacement, indices: LocalIndices = LocalIndices(),
        random: RandomSource = .secure
    ) {
        self.tunnel = tunnel
        self.placement = placement
        self.indices = indices
        self.random = random
    }

    /// A device with all of the workers to itself.
    ///
    /// - Parameter workerCount: 1...256.
    public convenience init(workerCount: Int, random: RandomSource = .secure) {
        self.init(placement: ReceivePlacement(workerCount: workerCount), random: random)
    }
}

// MARK: - Configuration

extension WireGuardDevice {
    /// The public key that belongs to the private one.
    public var publicKey: PublicKey? { privateKey?.publicKey }

    /// The private key itself, as the configuration protocol shows it.
    public var unsafePrivateKey: PrivateKey? { privateKey }

    /// Replaces the private key. All sessions and handshakes end, and a peer with our own public
    /// key is removed. ``rotatePrivateKey(_:now:)`` lets the sessions live.
    ///
    /// - Complexity: One X25519 multiplication for each peer.
    public func setPrivateKey(_ key: PrivateKey?, now: UInt64) {
        if let key, let privateKey, key.isEqual(to: privateKey) { return }
        if key == nil, privateKey == nil { return }
        privateKey = key
        cookieChecker = key.map { CookieChecker($0.publicKey) }
        if let key, let own = peerIDs[key.publicKey] { removePeer(own) }
        for case let peer? in peers {
            expireKeys(of: peer)
            computeStaticStatic(of: peer)
        }
    }

    /// Adds a peer, or finds it.
    ///
    /// - Returns: Its number; `nil` for the device's own key or a full table.
    public func addPeer(_ publicKey: PublicKey, now: UInt64) -> PeerID? {
        if let existing = peerIDs[publicKey] { return existing }
        guard publicKey != privateKey?.publicKey else { return nil }
        guard peerIDs.count < ImplementationLimits.peerCountMax else { return nil }
        let id = restingPeerIDs.take() ?? PeerID(peers.count)
        let peer = Peer(id: id, publicKey: publicKey)
        if Int(id) == peers.count { peers.append(peer) } else { peers[Int(id)] = peer }
        peerIDs[publicKey] = id
        computeStaticStatic(of: peer)
        return id
    }

    /// Removes a peer with its sessions; nothing happens if it does not exist.
    public func removePeer(_ id: PeerID) {
        guard let peer = peer(id) else { return }
        expireKeys(of: peer)
        actions.append(.discardStaged(id))
        deadlines.set(nil, for: id)
        peerIDs[peer.publicKey] = nil
        peers[Int(id)] = nil
        restingPeerIDs.add(id)
    }

    /// Sets the key that the next handshake mixes in; sessions stay.
    public func setPresharedKey(_ id: PeerID, _ key: PresharedKey?) {
        peer(id)?.presharedKey = key
    }

    /// Sets what the peer speaks; a change ends its sessions and handshakes, and begins a new one
    /// where there was a session: the peer's own may have come before its turn here.
    public func setProfile(_ id: PeerID, _ profile: TunnelProfile, now: UInt64) {
        guard let peer = peer(id), peer.profile != profile else { return }
        peer.profile = profile
        peer.mismatch = nil
        endPath(of: peer)
        renewSession(of: peer, now: now)
    }

    /// Sets where the peer is, as configured.
    public func setEndpoint(_ id: PeerID, _ endpoint: Endpoint?, now: UInt64) {
        guard let peer = peer(id) else { return }
        move(peer, to: endpoint)
        // A keepalive that had nowhere to go is due.
        if peer.persistentKeepaliveSeconds > 0, peer.current == nil, peer.pending == nil {
            schedule(peer, .persistentKeepalive, at: now)
        }
    }

    /// Sets the interval in seconds after which silence is broken; 0 for never.
    ///
    /// Switched on for a peer that has been silent, it sends a keepalive at once.
    public func setPersistentKeepalive(_ id: PeerID, seconds: UInt16, now: UInt64) {
        guard let peer = peer(id), peer.persistentKeepaliveSeconds != seconds else { return }
        let wasOff = peer.persistentKeepaliveSeconds == 0
        peer.persistentKeepaliveSeconds = seconds
        guard seconds > 0 else { return schedule(peer, .persistentKeepalive, at: nil) }
        let interval = UInt64(seconds) * ProtocolConstants.second
        let due = wasOff ? now : MonotonicTime.adding(interval, to: now)
        schedule(peer, .persistentKeepalive, at: due)
    }

    /// Ends all sessions, handshakes and timers, as when the interface goes down. Called again when
    /// it comes up, it forgets what was still under way between threads as it went down.
    ///
    /// While the interface is down, ``advance(now:wallClock:)`` must not be called: a message that
    /// cannot leave would count as sent.
    public func expireAllKeys() {
        for case let peer? in peers {
            expireKeys(of: peer)
            peer.activity.forgetTraffic()
            actions.append(.discardStaged(peer.id))
            for kind in PeerDeadlines.Kind.allCases { peer.deadlines[kind] = nil }
            deadlines.set(nil, for: peer.id)
        }
    }

    /// Sends a keepalive to each peer with persistent keepalive, as when the interface comes up.
    public func startPersistentKeepalives(now: UInt64) {
        for case let peer? in peers where peer.persistentKeepaliveSeconds > 0 {
            schedule(peer, .persistentKeepalive, at: now)
        }
    }

    func computeStaticStatic(of peer: Peer) {
        peer.areStaticKeysCompatible =
            privateKey?.sharedSecret(with: peer.publicKey, into: &peer.staticStatic) ?? false
        if !peer.areStaticKeysCompatible { peer.staticStatic.wipe() }
    }
}

// MARK: - Looking at peers

extension WireGuardDevice {
    public var peerCount: Int { peerIDs.count }

    public func peerID(_ publicKey: PublicKey) -> PeerID? { peerIDs[publicKey] }
    public func publicKey(_ id: PeerID) -> PublicKey? { peer(id)?.publicKey }
    public func activity(_ id: PeerID) -> PeerActivity? { peer(id)?.activity }
    public func endpoint(_ id: PeerID) -> Endpoint? { peer(id)?.endpoint }
    public func profile(_ id: PeerID) -> TunnelProfile? { peer(id)?.profile }
    /// The last authentic initiation of the peer that was made for another profile; `nil` without
    /// one, and as soon as a handshake of the configured profile succeeds.
    ///
    /// Only an end that is spoken to wrongly knows: it stays silent, as to everybody.
    public func lastProfileMismatch(_ id: PeerID) -> ProfileMismatch? { peer(id)?.mismatch }
    /// When the last handshake with the peer completed; `nil` for never.
    public func lastHandshake(_ id: PeerID) -> WallClock? { peer(id)?.lastHandshake }
    public func persistentKeepalive(_ id: PeerID) -> UInt16? {
        peer(id)?.persistentKeepaliveSeconds
    }
    /// The preshared key itself, as the configuration protocol shows it.
    public func unsafePresharedKey(_ id: PeerID) -> PresharedKey? { peer(id)?.presharedKey }
    /// The session that the peer is sent to with, expired or not.
    public func currentSession(_ id: PeerID) -> Session? { peer(id)?.current }
    /// The worker that the peer's datagrams arrive at, by the low byte of their receiver index.
    /// All workers know the peer's sessions and send with them.
    public func homeWorker(_ id: PeerID) -> Int {
        // Devices with a peer or two each use all workers, too.
        (Int(id) &+ Int(tunnel)) % placement.workerCount
    }

    func peer(_ id: PeerID) -> Peer? {
        guard id >= 0, Int(id) < peers.count else { return nil }
        return peers[Int(id)]
    }
}

// MARK: - Numbers

/// Numbers of removed peers, the longest removed given out first, and not too soon.
struct RestingPeerIDs {
    private var ids: [PeerID] = []
    private var head = 0

    mutating func add(_ id: PeerID) { ids.append(id) }

    mutating func take() -> PeerID? {
        guard ids.count - head > ImplementationLimits.restingPeerIDCount else { return nil }
        let id = ids[head]
        head += 1
        if head > ids.count / 2 {
            ids.removeFirst(head)
            head = 0
        }
        return id
    }
}

extension WireGuardDevice {
    /// A random index that no one uses, which selects the peer's home worker and our lane.
    func makeIndex(of peer: Peer) -> UInt32 {
        let home = homeWorker(peer.id)
        while true {
            let index = placement.index(worker: home, random: random.uint32())
            if indices.reserve(index, for: peer.id, in: tunnel) { return index }
        }
    }
}
