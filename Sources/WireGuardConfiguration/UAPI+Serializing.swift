internal import Cryptography
internal import PacketFormats

extension UAPI {
    /// The answer to a `get=1` request, with its `errno=0` and empty line; the caller wipes it.
    public static func serialize(_ status: DeviceStatus) -> [UInt8] {
        var text: [UInt8] = []
        if let key = status.privateKey {
            text.appendSecret("private_key", key.unsafeAppendHex)
        }
        if status.listenPort != 0 { text.appendLine("listen_port", status.listenPort) }
        if status.firewallMark != 0 { text.appendLine("fwmark", status.firewallMark) }
        for peer in status.peers { append(peer, to: &text) }
        text.appendLine("errno", 0)
        text.appendWiping("\n".utf8)
        return text
    }

    /// A `set=1` request, with the empty line that ends it; the caller wipes it.
    public static func serialize(_ settings: DeviceSettings) -> [UInt8] {
        var text: [UInt8] = []
        text.appendLine("set", 1)
        if let change = settings.privateKey {
            text.appendSecret("private_key", change.secret.map { $0.unsafeAppendHex })
        }
        if let port = settings.listenPort { text.appendLine("listen_port", port) }
        if let mark = settings.firewallMark { text.appendLine("fwmark", mark) }
        if settings.replacePeers { text.appendLine("replace_peers", true) }
        for peer in settings.peers { append(peer, to: &text) }
        text.appendWiping("\n".utf8)
        return text
    }

    /// The request that ``parse(answer:scope:)`` reads the answer of.
    public static var getRequest: [UInt8] { Array("get=1\n\n".utf8) }

    /// The request that ``EngineStatus/init(answer:)`` reads the answer of.
    public static var statusRequest: [UInt8] { Array("status=1\n\n".utf8) }

    /// The answer to a request that was carried out.
    public static var successAnswer: [UInt8] { Array("errno=0\n\n".utf8) }

    private static func append(_ peer: PeerStatus, to text: inout [UInt8]) {
        text.appendLine("public_key", peer.publicKey.hex)
        text.appendSecret("preshared_key", peer.presharedKey.map { $0.unsafeAppendHex })
        text.appendLine("protocol_version", 1)
        // A line that `wg` does not know, and passes over; of WireGuard's own peers there is none.
        if peer.profile != .wireguard { text.appendLine("profile", peer.profile.rawValue) }
        if let endpoint = peer.endpoint { text.appendLine("endpoint", endpoint) }
        text.appendLine("last_handshake_time_sec", peer.lastHandshakeSeconds)
        text.appendLine("last_handshake_time_nsec", peer.lastHandshakeNanoseconds)
        text.appendLine("tx_bytes", peer.transmittedBytes)
        text.appendLine("rx_bytes", peer.receivedBytes)
        text.appendLine("persistent_keepalive_interval", peer.persistentKeepaliveSeconds)
        for prefix in peer.allowedIPs { text.appendLine("allowed_ip", prefix) }
    }

    private static func append(_ peer: PeerSettings, to text: inout [UInt8]) {
        text.appendLine("public_key", peer.publicKey.hex)
        if peer.remove {
            text.appendLine("remove", true)
            return
        }
        if peer.updateOnly { text.appendLine("update_only", true) }
        if let change = peer.presharedKey {
            text.appendSecret("preshared_key", change.secret.map { $0.unsafeAppendHex })
        }
        if let profile = peer.profile { text.appendLine("profile", profile.rawValue) }
        if let endpoint = peer.endpoint { text.appendLine("endpoint", endpoint) }
        if let seconds = peer.persistentKeepaliveSeconds {
            text.appendLine("persistent_keepalive_interval", seconds)
        }
        if peer.replaceAllowedIPs { text.appendLine("replace_allowed_ips", true) }
        for change in peer.allowedIPs {
            switch change {
            case .add(let prefix), .share(let prefix): text.appendLine("allowed_ip", prefix)
            case .remove(let prefix): text.appendLine("allowed_ip", "-\(prefix)")
            }
        }
    }
}

/// Text of the protocol that is being written; it may hold keys, so growing leaves no copy behind.
extension [UInt8] {
    /// Appends one line of `key=value`.
    mutating func appendLine(_ key: String, _ value: some CustomStringConvertible) {
        appendWiping("\(key)=\(value)\n".utf8)
    }

    /// Appends a line with a secret, or with 32 zero bytes where there is none.
    fileprivate mutating func appendSecret(
        _ key: String, _ appendHex: ((inout [UInt8]) -> Void)?
    ) {
        appendWiping("\(key)=".utf8)
        if let appendHex {
            appendHex(&self)
        } else {
            appendWiping(repeatElement(UInt8(ascii: "0"), count: 64))
        }
        appendWiping("\n".utf8)
    }
}
