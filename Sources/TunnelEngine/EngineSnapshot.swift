import AccessControl
import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// The engine's state as another process goes on with it; see ``DeviceSnapshot``.
///
/// Left out: configuration connections, which their clients make again; frames and packets under
/// way, which are lost as on any path; flows known and what was measured of requests, which begin
/// anew.
enum EngineSnapshot {
    static let magic: UInt32 = 0x5345_4c42  // "BLES"
    static let version: UInt16 = 4
    /// Peers of all tunnels that the reader makes room for.
    static let peerByteCountMin = 27
}

extension Engine {
    /// Writes everything; no worker runs.
    func writeState(to writer: inout SnapshotWriter, now: UInt64) {
        writer.write(EngineSnapshot.magic)
        writer.write(EngineSnapshot.version)
        writer.write(listenPort)
        writer.write(firewallMark)
        writer.write(closedSocketDrops)
        writer.write(isShared ? link : nil) { writer, link in
            writer.write(UInt64(bitPattern: link.bitsPerSecond))
            writer.write(UInt32(link.overheadBytes))
            writer.write(link.minimumBitsPerSecond) { $0.write(UInt64(bitPattern: $1)) }
        }
        writer.write(follower?.bitsPerSecond) { $0.write(UInt64(bitPattern: $1)) }
        writer.write(counters: workers.map(\.counters.drops) + [handshakeDrops])
        writer.write(counters: workers.map(\.counters.events))
        let tunnels = tunnels.values.sorted { $0.number < $1.number }
        writer.write(count: tunnels.count)
        for tunnel in tunnels { tunnel.writeState(to: &writer, now: now) }
    }

    /// Becomes as the engine that wrote: its tunnels are here already, and nothing has been done
    /// with them.
    func restoreState(from reader: inout SnapshotReader, now: UInt64) throws(SnapshotError) {
        guard try reader.uint32() == EngineSnapshot.magic else {
            throw .unknownFormat(version: 0)
        }
        let version = try reader.uint16()
        guard version == EngineSnapshot.version else { throw .unknownFormat(version: version) }
        listenPort = try reader.uint16()
        firewallMark = try reader.uint32()
        closedSocketDrops = try reader.uint64()
        link = try reader.optional { reader throws(SnapshotError) in
            let rate = Int64(bitPattern: try reader.uint64())
            let link = QoSSettings.Link(
                bitsPerSecond: rate, overheadBytes: Int(try reader.uint32()),
                minimumBitsPerSecond: try reader.rate())
            if QoSSettings.fault(of: link) != nil { throw .invalid("a line") }
            return link
        }
        let followedRate = try reader.rate()
        try reader.addCounters(to: handshakeDrops)
        if let first = workers.first { try reader.addCounters(to: first.counters.events) }
        var left = Set(tunnels.keys)
        for _ in 0..<Int(try reader.uint32()) {
            let number = try reader.uint32()
            guard let id = TunnelID(exactly: number), left.remove(id) != nil,
                let tunnel = tunnels[id]
            else { throw .invalid("a tunnel's number") }
            try tunnel.restoreState(from: &reader, now: now)
        }
        guard left.isEmpty, reader.remainingCount == 0 else { throw .invalid("its end") }
        if let followedRate { follower?.resume(at: followedRate) }
    }
}

extension Tunnel {
    fileprivate func writeState(to writer: inout SnapshotWriter, now: UInt64) {
        writer.write(UInt32(number))
        writer.write(UInt32(settings.mtu))
        writer.write(settings.isUp)
        writer.write(limits.limits)
        writer.write(access?.rules) { $0.write($1) }
        writer.write(String(decoding: UAPI.serialize(qos), as: UTF8.self))
        writer.write(budget?.missing(now: now)) { writer, missing in
            writer.write(missing.bytes.bitPattern)
            writer.write(missing.tokens.bitPattern)
        }
        device.writeSnapshot(to: &writer, now: now)
        writer.write(count: peers.count)
        for (id, peer) in peers {
            writer.write(UInt32(id))
            writer.write(peer.localAddress) { writer, local in
                writer.write(local.address)
                writer.write(local.interfaceIndex)
            }
            var reception = peer
            for session in peer.sessions where session.isRetired {
                reception.noteReception(of: session)
            }
            writer.write(reception.receivedPackets)
            writer.write(reception.lostPackets)
            writer.write(peer.establishedIndex) { $0.write($1) }
            writer.write(settings.preferences[id]) { writer, preference in
                writer.write(preference.level)
                writer.write(preference.priority)
                writer.write(preference.weight)
            }
            let prefixes = settings.allowedIPs.prefixes(of: id)
            writer.write(count: prefixes.count)
            for prefix in prefixes {
                writer.write(prefix)
                writer.write(settings.allowedIPs.isShared(prefix))
            }
        }
        writer.write(counters: counters.map(\.drops))
        writer.write(counters: [handshakeDrops])
        writer.write(counters: counters.map(\.events))
        writer.write(classes: counters.map(\.classes))
    }

    fileprivate func restoreState(
        from reader: inout SnapshotReader, now: UInt64
    ) throws(SnapshotError) {
        settings.mtu = Int(try reader.uint32())
        settings.isUp = try reader.bool()
        use(try reader.limits())
        access = try reader.optional { reader throws(SnapshotError) in
            // What goes on is picked up, as after a restart.
            let key = (SecureRandom.uint64(), SecureRandom.uint64())
            return AccessFilter(
                try reader.accessRules(), state: AccessState(key: key, now: now))
        }
        restore(try reader.qosSettings())
        let missing = try reader.optional { reader throws(SnapshotError) in
            (bytes: try reader.part(), tokens: try reader.part())
        }
        if let missing { budget?.spend(missing: missing, now: now) }
        try device.restoreSnapshot(from: &reader, now: now)
        engine.noteKey(of: self)
        try restorePeers(from: &reader)
        reviewSteering()
        try reader.addCounters(to: counters[0].drops)
        try reader.addCounters(to: handshakeDrops)
        try reader.addCounters(to: counters[0].events)
        try reader.addCounters(to: counters[0].classes)
    }

    private func restorePeers(from reader: inout SnapshotReader) throws(SnapshotError) {
        let count = try reader.count(
            max: ImplementationLimits.peerCountMax,
            byteCountMin: EngineSnapshot.peerByteCountMin, of: "peers")
        for _ in 0..<count {
            let id = PeerID(truncatingIfNeeded: try reader.uint32())
            guard let publicKey = device.publicKey(id), peers[id] == nil else {
                throw .invalid("a peer's number")
            }
            var peer = PeerState(publicKey: publicKey, endpoint: device.endpoint(id))
            peer.localAddress = try reader.optional { reader throws(SnapshotError) in
                LocalAddress(
                    address: try reader.address(), interfaceIndex: try reader.uint32())
            }
            peer.receivedPackets = try reader.uint64()
            peer.lostPackets = try reader.uint64()
            peer.establishedIndex = try reader.optional { reader throws(SnapshotError) in
                try reader.uint32()
            }
            peers[id] = peer
            settings.preferences[id] = try reader.optional { reader throws(SnapshotError) in
                PeerPreference(
                    level: try reader.uint8(), priority: try reader.uint16(),
                    weight: try reader.uint16())
            }
            try restoreAllowedIPs(of: id, from: &reader)
        }
        guard peers.count == device.peerCount else { throw .invalid("number of peers") }
    }

    private func restoreAllowedIPs(
        of id: PeerID, from reader: inout SnapshotReader
    ) throws(SnapshotError) {
        let count = try reader.count(max: .max, byteCountMin: 19, of: "allowed IPs")
        for _ in 0..<count {
            let prefix = try reader.prefix()
            if try reader.bool() {
                settings.allowedIPs.share(prefix, id)
            } else {
                settings.allowedIPs.insert(prefix, id)
            }
            steer(prefix)
        }
    }
}

// MARK: - Parts

extension SnapshotWriter {
    /// The sums of some sets, each counter with its name: another version may have others.
    mutating func write<Key>(counters sets: [CounterSet<Key>]) {
        let cases = Array(Key.allCases)
        write(count: cases.count)
        for key in cases {
            write(key.name)
            write(CounterSet.total(of: key, in: sets))
        }
    }

    /// The sums of some sets, class by class, each with the class's name.
    mutating func write(classes sets: [ClassCounters]) {
        write(count: TrafficClass.allCases.count)
        for trafficClass in TrafficClass.allCases {
            write(trafficClass.name)
            let sums = ClassCounters.sums(of: trafficClass, in: sets)
            write(count: sums.count)
            for sum in sums { write(sum) }
        }
    }

    mutating func write(_ limits: TenantLimits) {
        write(count: limits.weight)
        for rate in [limits.minimumRate, limits.maximumRate, limits.maximumPacketsPerSecond] {
            write(rate) { $0.write(UInt64(bitPattern: $1)) }
        }
        for count in [limits.handshakesPerSecond, limits.peersMax, limits.flowsMax] {
            write(count) { $0.write(count: $1) }
        }
    }
}

extension SnapshotReader {
    /// Adds what the other process counted, as far as it is counted here.
    mutating func addCounters<Key>(to set: CounterSet<Key>) throws(SnapshotError) {
        let count = try count(max: 1_024, byteCountMin: 12, of: "counters")
        for _ in 0..<count {
            let (name, amount) = (try text(), try uint64())
            guard let key = Key.allCases.first(where: { $0.name == name }) else { continue }
            set.add(key, Int(truncatingIfNeeded: amount))
        }
    }

    mutating func addCounters(to set: ClassCounters) throws(SnapshotError) {
        for _ in 0..<(try count(max: 64, byteCountMin: 8, of: "classes")) {
            let name = try text()
            var sums: [UInt64] = []
            for _ in 0..<(try count(max: 1_024, byteCountMin: 8, of: "counters of a class")) {
                sums.append(try uint64())
            }
            guard let trafficClass = TrafficClass(name: name) else { continue }
            set.add(sums, to: trafficClass)
        }
    }

    mutating func qosSettings() throws(SnapshotError) -> QoSSettings {
        let text = try text(byteCountMax: EngineLimits.settingsTextBytesMax)
        guard case .setQoS(let settings) = try? UAPI.parse(request: text) else {
            throw .invalid("settings of classes")
        }
        return settings
    }

    /// A part of a whole.
    mutating func part() throws(SnapshotError) -> Double {
        let part = Double(bitPattern: try uint64())
        guard (0...1).contains(part) else { throw .invalid("a part") }
        return part
    }

    mutating func limits() throws(SnapshotError) -> TenantLimits {
        var limits = TenantLimits(weight: Int(try uint32()))
        limits.minimumRate = try rate()
        limits.maximumRate = try rate()
        limits.maximumPacketsPerSecond = try rate()
        limits.handshakesPerSecond = try number()
        limits.peersMax = try number()
        limits.flowsMax = try number()
        guard limits.fault() == nil else { throw .invalid("limits") }
        return limits
    }

    fileprivate mutating func rate() throws(SnapshotError) -> Int64? {
        try optional { reader throws(SnapshotError) in Int64(bitPattern: try reader.uint64()) }
    }

    private mutating func number() throws(SnapshotError) -> Int? {
        try optional { reader throws(SnapshotError) in Int(try reader.uint32()) }
    }
}
