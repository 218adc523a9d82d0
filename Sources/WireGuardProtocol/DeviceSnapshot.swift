import Cryptography
import PacketFormats
import PacketMemory

/// The whole state of a device, for a process that goes on in the place of this one.
///
/// The writer's data path has stopped for good, or begins again only if the reader never did:
/// whoever sends with a session goes on from its counter, and two who do would encrypt two packets
/// with one nonce.
///
/// - Times are monotonic nanoseconds since the machine started. They are the same in both
///   processes, so they are carried over as they are; ``SnapshotError/foreignClock`` tells a
///   writer with another clock.
/// - Handshakes that we began go on: their response may be under way. Cookies, the secret that
///   cookies are made from, and what the rate limiter remembers are left out: they come again.
/// - The results of Diffie-Hellman with each peer's key are carried over, or a gateway would stand
///   still for as long as it takes to compute them: 30 µs for each peer.
///
/// Layout: magic, version, time; the device; then each peer with its sessions.
public enum DeviceSnapshot {
    /// Of the layout; a reader knows one only.
    public static let version: UInt16 = 2
    /// Longest time from writing to reading, in nanoseconds: far more than a handover may take.
    static let ageNanosecondsMax: UInt64 = 60 * ProtocolConstants.second

    static let magic: UInt32 = 0x5344_4c42  // "BLDS"
    /// A peer without optional fields and sessions, at least.
    static let peerByteCountMin = 101
    /// A session that never received, at least.
    static let sessionByteCountMin = 100
}

extension WireGuardDevice {
    /// Writes everything that a device of another process needs to go on.
    ///
    /// ``actions`` is empty, and the data path has stopped.
    public func writeSnapshot(to writer: inout SnapshotWriter, now: UInt64) {
        writer.write(DeviceSnapshot.magic)
        writer.write(DeviceSnapshot.version)
        writer.write(now)
        writer.write(count: Int(tunnel))
        writer.write(placement)
        writer.write(privateKey) { $0.write($1) }
        writer.write(timestampFloor)
        writer.write(count: peers.count)
        writer.write(count: peerIDs.count)
        for case let peer? in peers { peer.write(to: &writer) }
    }

    /// Becomes the device that was written, in place of one that nothing has been done with.
    ///
    /// ``announceSessions()`` then tells the data path. After an error the device is good for
    /// nothing.
    /// - Parameter now: Of the same clock as the writer's.
    public func restoreSnapshot(
        from reader: inout SnapshotReader, now: UInt64
    ) throws(SnapshotError) {
        precondition(peers.isEmpty && privateKey == nil, "the device is new")
        guard try reader.uint32() == DeviceSnapshot.magic else {
            throw .unknownFormat(version: 0)
        }
        let version = try reader.uint16()
        guard version == DeviceSnapshot.version else { throw .unknownFormat(version: version) }
        let writtenAt = try reader.uint64()
        guard writtenAt <= now, now - writtenAt <= DeviceSnapshot.ageNanosecondsMax else {
            throw .foreignClock
        }
        // Indices in use select worker and lane.
        guard try reader.uint32() == UInt32(tunnel), try reader.matches(placement) else {
            throw .invalid("the device's place")
        }
        privateKey = try reader.optional { reader throws(SnapshotError) in
            PrivateKey(clamping: try reader.secret())
        }
        cookieChecker = privateKey.map { CookieChecker($0.publicKey) }
        timestampFloor = try reader.timestamp()
        try restorePeers(from: &reader)
        // Arms what the data path had asked for, should it not be armed.
        for case let peer? in peers {
            noteActivity(peer.id, now: now)
            if peer.current != nil { wakePath(of: peer, now: now) }
        }
    }

    /// Tells a data path that knows of none of every session, in order.
    public func announceSessions() {
        for case let peer? in peers {
            peer.activity.forgetHolders()
            announceSessions(of: peer)
        }
    }

    /// Ends all sessions, and begins new ones with peers that had one: another process may have
    /// used any counter of theirs.
    ///
    /// Handshakes under way end, too. Nothing is forgotten of what is owed, and no time is waited
    /// for.
    public func renewAllSessions(now: UInt64) {
        for case let peer? in peers {
            renewSession(of: peer, now: now)
        }
    }

    /// Ends a peer's sessions and handshakes, and begins a new one where there was a session.
    func renewSession(of peer: Peer, now: UInt64) {
        let hadSession = peer.current != nil || peer.next != nil
        expireKeys(of: peer)
        if hadSession, peer.endpoint != nil { schedule(peer, .handshake, at: now) }
    }

    private func restorePeers(from reader: inout SnapshotReader) throws(SnapshotError) {
        // Numbers of removed peers rest among them, so there may be more numbers than peers.
        let slotCount = Int(try reader.uint32())
        let max = ImplementationLimits.peerCountMax
        guard slotCount <= max + ImplementationLimits.restingPeerIDCount else {
            throw .invalid("\(slotCount) numbers of peers")
        }
        let count = try reader.count(
            max: max, byteCountMin: DeviceSnapshot.peerByteCountMin, of: "peers")
        peers = Array(repeating: nil, count: slotCount)
        for _ in 0..<count {
            let peer = try Peer(from: &reader, in: tunnel)
            let place = Int(peer.id)
            guard place < slotCount, peers[place] == nil else { throw .invalid("a peer's number") }
            guard peerIDs[peer.publicKey] == nil, peer.publicKey != publicKey else {
                throw .invalid("a peer's key")
            }
            peers[place] = peer
            peerIDs[peer.publicKey] = peer.id
            for index in peer.sessions.map(\.localIndex) { try reserve(index, for: peer) }
            if let pending = peer.pending { try reserve(pending.localIndex, for: peer) }
            deadlines.set(peer.deadlines.earliest, for: peer.id)
        }
        for (place, peer) in peers.enumerated() where peer == nil {
            restingPeerIDs.add(PeerID(place))
        }
    }

    private func reserve(_ index: UInt32, for peer: Peer) throws(SnapshotError) {
        guard indices.reserve(index, for: peer.id, in: tunnel) else {
            throw .invalid("an index that two sessions have")
        }
    }

    /// Tells the data path of a peer's sessions, in the order in which they came.
    private func announceSessions(of peer: Peer) {
        for session in peer.former.reversed() {
            actions.append(.install(session, use: .receivingOnly))
        }
        if let current = peer.current { actions.append(.install(current, use: .sending)) }
        if let next = peer.next { actions.append(.install(next, use: .receivingOnly)) }
        // What would tell the responder that the handshake succeeded may not have left yet.
        if let current = peer.current, current.isInitiator, current.sentCount == 0 {
            actions.append(.sendStagedOrKeepalive(peer.id))
        }
    }
}

// MARK: - Peers

extension Peer {
    fileprivate func write(to writer: inout SnapshotWriter) {
        writer.write(count: Int(id))
        writer.write(publicKey)
        writer.write(areStaticKeysCompatible)
        writer.write(staticStatic)
        writer.write(presharedKey) { writer, key in key.withBytes { writer.write($0) } }
        writer.write(profile.snapshotNumber)
        writer.write(endpoint) { $0.write($1) }
        writer.write(persistentKeepaliveSeconds)
        writer.write(lastTimestampSent)
        writer.write(lastTimestampReceived)
        writer.write(lastInitiationAcceptedAt) { $0.write($1) }
        writer.write(lastHandshakeSentAt) { $0.write($1) }
        writer.write(attemptStartedAt)
        writer.write(lastHandshake) { writer, wallClock in
            writer.write(UInt64(bitPattern: wallClock.seconds))
            writer.write(wallClock.nanoseconds)
        }
        for kind in PeerDeadlines.Kind.carriedOver { writer.write(deadlines[kind] ?? .max) }
        activity.write(to: &writer)
        writer.write(pending) { $1.write(to: &$0) }
        writer.write(current) { $1.write(to: &$0) }
        writer.write(next) { $1.write(to: &$0) }
        writer.write(count: former.count)
        for session in former { session.write(to: &writer) }
    }

    fileprivate convenience init(
        from reader: inout SnapshotReader, in tunnel: TunnelID
    ) throws(SnapshotError) {
        let number = try reader.uint32()
        guard let id = PeerID(exactly: number) else { throw .invalid("a peer's number") }
        self.init(id: id, publicKey: try reader.publicKey())
        areStaticKeysCompatible = try reader.bool()
        staticStatic.replace(with: try reader.secret())
        presharedKey = try reader.optional { reader throws(SnapshotError) in
            PresharedKey(try reader.secret())
        }
        profile = try TunnelProfile(snapshotNumber: try reader.uint8())
        endpoint = try reader.optional { reader throws(SnapshotError) in try reader.endpoint() }
        persistentKeepaliveSeconds = try reader.uint16()
        lastTimestampSent = try reader.timestamp()
        lastTimestampReceived = try reader.timestamp()
        lastInitiationAcceptedAt = try reader.optional { reader throws(SnapshotError) in
            try reader.uint64()
        }
        lastHandshakeSentAt = try reader.optional { reader throws(SnapshotError) in
            try reader.uint64()
        }
        attemptStartedAt = try reader.uint64()
        lastHandshake = try reader.optional { reader throws(SnapshotError) in
            WallClock(
                seconds: Int64(bitPattern: try reader.uint64()), nanoseconds: try reader.uint32())
        }
        for kind in PeerDeadlines.Kind.carriedOver {
            let deadline = try reader.uint64()
            deadlines[kind] = deadline == .max ? nil : deadline
        }
        try activity.restore(from: &reader)
        let profile = profile
        pending = try reader.optional { reader throws(SnapshotError) in
            try PendingInitiation(from: &reader, profile)
        }
        try restoreSessions(from: &reader, in: tunnel)
    }

    private func restoreSessions(
        from reader: inout SnapshotReader, in tunnel: TunnelID
    ) throws(SnapshotError) {
        let (id, profile, activity) = (id, profile, activity)
        current = try reader.optional { reader throws(SnapshotError) in
            try Session(
                from: &reader, of: id, in: tunnel, profile: profile, activity: activity)
        }
        next = try reader.optional { reader throws(SnapshotError) in
            try Session(
                from: &reader, of: id, in: tunnel, profile: profile, activity: activity)
        }
        let count = try reader.count(
            max: ImplementationLimits.formerSessionCountMax,
            byteCountMin: DeviceSnapshot.sessionByteCountMin, of: "former sessions")
        for _ in 0..<count {
            former.append(
                try Session(
                    from: &reader, of: id, in: tunnel, profile: profile, activity: activity))
        }
    }
}

extension PendingInitiation {
    fileprivate func write(to writer: inout SnapshotWriter) {
        writer.write(localIndex)
        writer.write(sentAt)
        writer.write(ephemeral)
        decapsulationKey?.unsafeWithSeeds { keySeed, rejectionSeed in
            writer.write(keySeed)
            writer.write(rejectionSeed)
        }
        writer.write(chainingKey)
        hash.withBytes { writer.write($0) }
    }

    fileprivate convenience init(
        from reader: inout SnapshotReader, _ profile: TunnelProfile
    ) throws(SnapshotError) {
        guard profile.isAvailable else { throw .invalid("a handshake that this machine lacks") }
        let (localIndex, sentAt) = (try reader.uint32(), try reader.uint64())
        let ephemeral = PrivateKey(clamping: try reader.secret())
        var decapsulationKey: DecapsulationKey?
        if profile.family == .branchline {
            decapsulationKey = DecapsulationKey(
                keySeed: try reader.secret(), rejectionSeed: try reader.secret())
        }
        let state = SymmetricState(
            chainingKey: try reader.secret(), hash: Digest32(copying: try reader.bytes(32)))
        self.init(
            localIndex: localIndex, ephemeral: ephemeral, decapsulationKey: decapsulationKey,
            sentAt: sentAt, state: state)
    }
}

extension SnapshotWriter {
    mutating func write(_ key: PrivateKey) { key.unsafeWithBytes { write($0) } }

    mutating func write(_ placement: ReceivePlacement) {
        for part in [placement.workerCount, placement.laneCount, placement.lane] {
            write(UInt16(part))
        }
    }

    mutating func write(_ timestamp: TAI64N) {
        write(timestamp.seconds)
        write(timestamp.nanoseconds)
    }
}

extension SnapshotReader {
    mutating func matches(_ placement: ReceivePlacement) throws(SnapshotError) -> Bool {
        let parts = [Int(try uint16()), Int(try uint16()), Int(try uint16())]
        return parts == [placement.workerCount, placement.laneCount, placement.lane]
    }

    mutating func timestamp() throws(SnapshotError) -> TAI64N {
        var timestamp = TAI64N()
        timestamp.seconds = try uint64()
        timestamp.nanoseconds = try uint32()
        return timestamp
    }
}
