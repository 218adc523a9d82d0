import ArgumentParser
import Cryptography
import PacketFormats
import WireGuardConfiguration

struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Show what protects the traffic of each peer, and how long its keys last.",
        discussion: """
            A session's keys are replaced every two minutes, and after as many messages as their \
            cipher allows. No key is shown. For example:

              sudo branchline keys
              sudo branchline keys wg0 --json | jq '.[].peers[] | select(.post_quantum | not)'

            With --json: a list with one object per interface: interface and peers; of each peer \
            public_key, name where it is known, profile, cipher, post_quantum, \
            has_preshared_key, latest_handshake_seconds (since 1970, 0 for never), session with \
            age_seconds, messages_sent, messages_received, messages_max, rekey_in_seconds where \
            this side begins it, and ends_in_seconds, and wrong_profile where the peer speaks \
            another one, with spoken, seconds_ago and advice. What is not known is left out.
            """)

    @OptionGroup var scope: TunnelScope

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let reports = try scope.collect { try KeysReport($0) }
        if json {
            try Console.output(InterfaceReport.json(reports))
        } else if reports.isEmpty {
            try Console.write(TunnelScope.nothingIsUp)
        } else {
            let now = Text.now
            let tables = reports.map { $0.asTable(now: now) }
            try Console.write(Text.plain(tables.joined(separator: "\n")))
        }
    }
}

/// What is printed of one interface's keys. It holds no secrets.
private struct KeysReport: Encodable {
    struct Session: Encodable {
        let ageSeconds: UInt64
        let messagesSent: UInt64
        let messagesReceived: UInt64
        let messagesMax: UInt64
        let rekeyInSeconds: UInt64?
        let endsInSeconds: UInt64
    }

    struct Peer: Encodable {
        let publicKey: String
        let name: String?
        let profile: String
        let cipher: String
        let postQuantum: Bool
        let hasPresharedKey: Bool
        let latestHandshakeSeconds: UInt64
        let session: Session?
        let wrongProfile: WrongProfile?
    }

    let interface: String
    let peers: [Peer]

    init(_ tunnel: TunnelScope.Tunnel) throws {
        interface = tunnel.socket.name
        let device = try tunnel.socket.deviceStatus()
        let engine = try tunnel.socket.engineStatus()
        let health = Dictionary(
            (engine?.peers ?? []).map { ($0.publicKey, $0) },
            uniquingKeysWith: { first, _ in first })
        peers = device.peers.map { peer in
            Peer(
                peer, health[peer.publicKey], name: tunnel.peerNames[peer.publicKey.base64],
                node: tunnel.nodeName)
        }
    }

    func asTable(now: UInt64) -> String {
        let head = "interface \(interface)\n"
        if peers.isEmpty { return head + "  no peers\n" }
        var table = TextTable(
            header: [
                "PEER", "PROFILE", "CIPHER", "POST-QUANTUM", "SESSION", "SENT", "RECEIVED",
                "NEW KEYS", "HANDSHAKE",
            ])
        for peer in peers { table.append(peer.row(now: now)) }
        let notes = peers.compactMap(\.wrongProfile).map { "  \($0.line)" }
        return head + (table.lines(indentation: 2) + notes).joined(separator: "\n") + "\n"
    }
}

extension KeysReport.Peer {
    init(
        _ peer: PeerStatus, _ health: EngineStatus.PeerHealth?, name: String?, node: String?
    ) {
        publicKey = peer.publicKey.base64
        self.name = name
        profile = peer.profile.rawValue
        cipher = peer.profile.cipherWord
        postQuantum = peer.profile.isPostQuantum
        hasPresharedKey = peer.presharedKey != nil
        latestHandshakeSeconds = peer.lastHandshakeSeconds
        session = health?.session.map { use in
            KeysReport.Session(
                ageSeconds: use.ageSeconds, messagesSent: use.sentMessages,
                messagesReceived: use.receivedMessages, messagesMax: use.messagesMax,
                rekeyInSeconds: use.rekeySeconds, endsInSeconds: use.endSeconds)
        }
        wrongProfile = WrongProfile(peer, health, name: name, node: node)
    }

    fileprivate func row(now: UInt64) -> [String] {
        [
            name.map(Text.line) ?? String(publicKey.prefix(10)),
            TunnelProfile(rawValue: profile)?.profileWord ?? profile, cipher,
            // A preshared key does it as well, if it came to both ends in secret.
            postQuantum ? "yes" : hasPresharedKey ? "by preshared key" : "no",
            session.map { Text.shortDuration(seconds: $0.ageSeconds) } ?? "none",
            session.map { String($0.messagesSent) } ?? "-",
            session.map { String($0.messagesReceived) } ?? "-", session?.renewal ?? "-",
            Text.shortAgo(seconds: latestHandshakeSeconds, now: now),
        ]
    }
}

extension KeysReport.Session {
    /// Who makes the next keys, and when.
    fileprivate var renewal: String {
        let left = messagesMax - min(messagesSent, messagesMax)
        // A limit that nobody ever comes near is not worth a word.
        let messages = messagesMax < 1 << 40 ? " or \(left) messages" : ""
        if let rekeyInSeconds { return "in \(rekeyInSeconds) s\(messages)" }
        return "by peer, or end in \(endsInSeconds) s\(messages)"
    }
}
