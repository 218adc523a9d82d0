import Cryptography
import Foundation
import NodeAgent
import PacketFormats
import WireGuardConfiguration

/// What is printed about one interface: both as text and, encoded, as JSON. It holds no secrets.
struct InterfaceReport: Encodable {
    struct Peer: Encodable {
        let publicKey: String
        /// Of a node of a joined network.
        let name: String?
        let hasPresharedKey: Bool
        let profile: String
        let endpoint: String?
        let allowedIps: [String]
        let latestHandshakeSeconds: UInt64
        let receivedBytes: UInt64
        let transmittedBytes: UInt64
        let persistentKeepaliveSeconds: UInt16
        let receivedPackets: UInt64?
        let lostPackets: UInt64?
        let lossShare: Double?
        let wrongProfile: WrongProfile?
        let path: Path?
    }

    /// The way to a peer, as probes find it.
    struct Path: Encodable {
        let roundTripMs: Double?
        let roundTripMinMs: Double?
        let jitterMs: Double?
        let lossShare: Double?
        let probes: UInt64
        let answers: UInt64
        let mtu: Int
        let isMtuConfirmed: Bool
    }

    /// What a joined network's rules do here.
    struct Access: Encodable {
        let connections: Int
        let connectionsMax: Int
        let refusedConnections: UInt64
        /// Denied packets by the name of the rule.
        let denials: [String: UInt64]
    }

    /// What only branchlined tells.
    struct Engine: Encodable {
        let version: String
        let uptimeSeconds: UInt64
        let mtu: Int
        let socketFault: String?
        let workerCount: Int
        let cipher: String
        let offloads: [String]
        let fallbacks: [String]
        let drops: [String: UInt64]
        let access: Access?
    }

    let interface: String
    let publicKey: String?
    let listenPort: UInt16
    let firewallMark: UInt32
    /// The one with the most recent handshake first.
    let peers: [Peer]
    let engine: Engine?
    /// Of an interface that has joined a network.
    let agent: AgentStatus?

    /// - Parameter engine: `nil` where another program than branchlined serves the interface.
    init(
        name: String, device: DeviceStatus, engine: EngineStatus? = nil,
        agent: AgentStatus? = nil
    ) {
        interface = name
        let names = agent?.peerNames ?? [:]
        // They are with the peers.
        self.agent = agent.map {
            var agent = $0
            agent.peerNames = nil
            return agent
        }
        publicKey = device.privateKey?.publicKey.base64
        listenPort = device.listenPort
        firewallMark = device.firewallMark
        let health = Dictionary(
            (engine?.peers ?? []).map { ($0.publicKey, $0) },
            uniquingKeysWith: { first, _ in first })
        peers = device.peers
            .sorted { Self.handshake($0) > Self.handshake($1) }
            .map { peer in
                Peer(
                    peer, health[peer.publicKey], name: names[peer.publicKey.base64],
                    node: agent?.name)
            }
        self.engine = engine.map(Engine.init)
    }

    private static func handshake(_ peer: PeerStatus) -> (UInt64, UInt32) {
        (peer.lastHandshakeSeconds, peer.lastHandshakeNanoseconds)
    }

    /// The reports as JSON with sorted keys.
    static func json(_ reports: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(reports), as: UTF8.self)
    }

    /// What `--help` says of the JSON form.
    static let jsonHelp = """
        With --json: a list with one object per interface: interface, public_key, listen_port, \
        firewall_mark and peers; of each peer public_key, has_preshared_key, profile, \
        endpoint, allowed_ips, latest_handshake_seconds (since 1970, 0 for never), received_bytes, \
        transmitted_bytes and persistent_keepalive_seconds (0 for off). What is not known is left \
        out.
        """
}

extension InterfaceReport.Peer {
    fileprivate init(
        _ peer: PeerStatus, _ health: EngineStatus.PeerHealth?, name: String?, node: String?
    ) {
        publicKey = peer.publicKey.base64
        self.name = name
        hasPresharedKey = peer.presharedKey != nil
        profile = peer.profile.rawValue
        endpoint = peer.endpoint?.description
        allowedIps = peer.allowedIPs.map(\.description)
        latestHandshakeSeconds = peer.lastHandshakeSeconds
        receivedBytes = peer.receivedBytes
        transmittedBytes = peer.transmittedBytes
        persistentKeepaliveSeconds = peer.persistentKeepaliveSeconds
        receivedPackets = health?.receivedPackets
        lostPackets = health?.lostPackets
        lossShare = health?.lossShare
        wrongProfile = WrongProfile(peer, health, name: name, node: node)
        path = health?.path.map(InterfaceReport.Path.init)
    }
}

extension InterfaceReport.Path {
    fileprivate init(_ path: EngineStatus.Path) {
        func milliseconds(_ microseconds: UInt64?) -> Double? {
            microseconds.map { Double($0) / 1_000 }
        }
        roundTripMs = milliseconds(path.roundTripMicroseconds)
        roundTripMinMs = milliseconds(path.roundTripMinMicroseconds)
        jitterMs = milliseconds(path.jitterMicroseconds)
        lossShare = path.lossShare
        probes = path.probes
        answers = path.answers
        mtu = path.mtu
        isMtuConfirmed = path.isMTUConfirmed
    }
}

extension InterfaceReport.Engine {
    fileprivate init(_ engine: EngineStatus) {
        version = engine.version
        uptimeSeconds = engine.uptimeSeconds
        mtu = engine.mtu
        socketFault = engine.socketFault
        workerCount = engine.workerCount
        cipher = engine.cipher
        offloads = engine.offloads
        fallbacks = engine.fallbacks
        drops = Dictionary(
            engine.drops.map { ($0.reason, $0.count) }, uniquingKeysWith: { $0 &+ $1 })
        access = engine.access.map { access in
            InterfaceReport.Access(
                connections: access.connections, connectionsMax: access.connectionsMax,
                refusedConnections: access.refusedConnections,
                denials: Dictionary(
                    access.denials.map { ($0.rule, $0.count) }, uniquingKeysWith: { $0 &+ $1 }))
        }
    }
}
