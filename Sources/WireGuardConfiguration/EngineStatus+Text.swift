internal import Cryptography
internal import PacketFormats

extension EngineStatus {
    /// Reads the answer to a `status=1` request.
    ///
    /// - Throws: Also if the answer itself reports a failure.
    public init(answer: [UInt8]) throws(UAPIError) {
        var status = EngineStatus()
        try UAPI.forEachAnswerPair(of: answer) { line, key, value throws(UAPIError) in
            let value = String(decoding: value, as: UTF8.self)
            if key == "public_key" {
                guard let publicKey = PublicKey(hex: value) else {
                    throw UAPI.malformed(key, line)
                }
                status.peers.append(PeerHealth(publicKey: publicKey))
            } else if let last = status.peers.indices.last {
                try status.peers[last].read(key, value, line)
            } else {
                try status.read(key, value, line)
            }
        }
        self = status
    }

    private mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "version": version = value
        case "mtu": mtu = try UAPI.number(key, value, line)
        case "socket_fault": socketFault = value
        case "workers": workerCount = try UAPI.number(key, value, line)
        case "cipher": cipher = value
        case "offload": offloads.append(value)
        case "fallback": fallbacks.append(value)
        case "uptime_sec": uptimeSeconds = try UAPI.number(key, value, line)
        case _ where key.hasPrefix(Self.dropPrefix):
            let count: UInt64 = try UAPI.number(key, value, line)
            drops.append(Drops(reason: String(key.dropFirst(Self.dropPrefix.count)), count: count))
        case _ where key.hasPrefix(Access.prefix):
            var read = access ?? Access()
            try read.read(key, value, line)
            access = read
        default: return
        }
    }

    /// What the key of every drop counter begins with.
    fileprivate static let dropPrefix = "drop_"
}

extension EngineStatus.Access {
    /// What every key begins with.
    fileprivate static let prefix = "access_"

    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "access_connections": connections = try UAPI.number(key, value, line)
        case "access_connections_max": connectionsMax = try UAPI.number(key, value, line)
        case "access_connections_refused":
            refusedConnections = try UAPI.number(key, value, line)
        case "access_denied":
            // The name comes last: it may hold anything but a new line.
            let words = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            guard words.count == 2 else { throw UAPI.malformed(key, line) }
            let count: UInt64 = try UAPI.number(key, String(words[0]), line)
            denials.append(Denials(rule: String(words[1]), count: count))
        default: return
        }
    }
}

extension EngineStatus.PeerHealth {
    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "rx_packets": receivedPackets = try UAPI.number(key, value, line)
        case "lost_packets": lostPackets = try UAPI.number(key, value, line)
        case "profile": profile = try UAPI.profile(key, value, line)
        case "mismatch":
            let words = value.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 2 else { throw UAPI.malformed(key, line) }
            mismatch = EngineStatus.ProfileMismatch(
                spoken: try UAPI.profile(key, String(words[0]), line),
                ageSeconds: try UAPI.number(key, String(words[1]), line))
        case "session_age_sec":
            session = EngineStatus.KeyUse(ageSeconds: try UAPI.number(key, value, line))
        case "session_tx_messages":
            session?.sentMessages = try UAPI.number(key, value, line)
        case "session_rx_messages":
            session?.receivedMessages = try UAPI.number(key, value, line)
        case "session_messages_max":
            session?.messagesMax = try UAPI.number(key, value, line)
        case "session_rekey_sec": session?.rekeySeconds = try UAPI.number(key, value, line)
        case "session_end_sec": session?.endSeconds = try UAPI.number(key, value, line)
        case "path_mtu":
            path = EngineStatus.Path(mtu: try UAPI.number(key, value, line))
        default: try path?.read(key, value, line)
        }
    }
}

extension EngineStatus.Path {
    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "path_mtu_confirmed": isMTUConfirmed = value == "true"
        case "path_rtt_us": roundTripMicroseconds = try UAPI.number(key, value, line)
        case "path_rtt_min_us": roundTripMinMicroseconds = try UAPI.number(key, value, line)
        case "path_jitter_us": jitterMicroseconds = try UAPI.number(key, value, line)
        case "path_loss_ppm":
            let millionths: UInt32 = try UAPI.number(key, value, line)
            lossShare = Double(millionths) / 1e6
        case "path_probes": probes = try UAPI.number(key, value, line)
        case "path_answers": answers = try UAPI.number(key, value, line)
        default: return
        }
    }
}

extension UAPI {
    /// The answer to a `status=1` request, with its `errno=0` and empty line.
    public static func serialize(_ status: EngineStatus) -> [UInt8] {
        var text: [UInt8] = []
        text.appendLine("version", onOneLine(status.version))
        text.appendLine("uptime_sec", status.uptimeSeconds)
        text.appendLine("mtu", status.mtu)
        if let fault = status.socketFault { text.appendLine("socket_fault", onOneLine(fault)) }
        text.appendLine("workers", status.workerCount)
        text.appendLine("cipher", onOneLine(status.cipher))
        for offload in status.offloads { text.appendLine("offload", onOneLine(offload)) }
        for fallback in status.fallbacks { text.appendLine("fallback", onOneLine(fallback)) }
        for drops in status.drops {
            text.appendLine("\(EngineStatus.dropPrefix)\(drops.reason)", drops.count)
        }
        if let access = status.access {
            text.appendLine("access_connections", access.connections)
            text.appendLine("access_connections_max", access.connectionsMax)
            text.appendLine("access_connections_refused", access.refusedConnections)
            for denials in access.denials {
                text.appendLine("access_denied", "\(denials.count) \(onOneLine(denials.rule))")
            }
        }
        for peer in status.peers {
            text.appendLine("public_key", peer.publicKey.hex)
            text.appendLine("rx_packets", peer.receivedPackets)
            text.appendLine("lost_packets", peer.lostPackets)
            text.appendLine("profile", peer.profile.rawValue)
            if let mismatch = peer.mismatch {
                text.appendLine("mismatch", "\(mismatch.spoken.rawValue) \(mismatch.ageSeconds)")
            }
            if let session = peer.session { append(session, to: &text) }
            if let path = peer.path { append(path, to: &text) }
        }
        text.appendLine("errno", 0)
        text.appendWiping("\n".utf8)
        return text
    }

    private static func append(_ session: EngineStatus.KeyUse, to text: inout [UInt8]) {
        text.appendLine("session_age_sec", session.ageSeconds)
        text.appendLine("session_tx_messages", session.sentMessages)
        text.appendLine("session_rx_messages", session.receivedMessages)
        text.appendLine("session_messages_max", session.messagesMax)
        if let seconds = session.rekeySeconds { text.appendLine("session_rekey_sec", seconds) }
        text.appendLine("session_end_sec", session.endSeconds)
    }

    private static func append(_ path: EngineStatus.Path, to text: inout [UInt8]) {
        text.appendLine("path_mtu", path.mtu)
        text.appendLine("path_mtu_confirmed", path.isMTUConfirmed)
        let times = [
            ("path_rtt_us", path.roundTripMicroseconds),
            ("path_rtt_min_us", path.roundTripMinMicroseconds),
            ("path_jitter_us", path.jitterMicroseconds),
        ]
        for (key, value) in times {
            if let value { text.appendLine(key, value) }
        }
        if let loss = path.lossShare {
            text.appendLine("path_loss_ppm", Int((loss * 1e6).rounded()))
        }
        text.appendLine("path_probes", path.probes)
        text.appendLine("path_answers", path.answers)
    }

    static func onOneLine(_ value: String) -> String {
        String(value.map { $0.isNewline ? " " : $0 })
    }
}
