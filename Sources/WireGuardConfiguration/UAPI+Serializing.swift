internal import Cryptography
internal import PacketFormats

extension UAPI {
    /// The answer to a `get=1` request, with its `errno=0` and empty line.
    public static func serialize(_ status: DeviceStatus) -> String {
        var text = ""
        if let key = status.privateKey { text.append("private_key", key.unsafeHex()) }
        if status.listenPort != 0 { text.append("listen_port", status.listenPort) }
        if status.firewallMark != 0 { text.append("fwmark", status.firewallMark) }
        for peer in status.peers { append(peer, to: &text) }
        text.append("errno", 0)
        return text + "\n"
    }

    /// A `set=1` request, with the empty line that ends it.
    public static func serialize(_ settings: DeviceSettings) -> String {
        var text = "set=1\n"
        if let change = settings.privateKey {
            text.append("private_key", change.secret?.unsafeHex() ?? zeroKey)
        }
        if let port = settings.listenPort { text.append("listen_port", port) }
        if let mark = settings.firewallMark { text.append("fwmark", mark) }
        if settings.replacePeers { text.append("replace_peers", true) }
        for peer in settings.peers { append(peer, to: &text) }
        return text + "\n"
    }

    /// The request that ``parse(answer:scope:)`` reads the answer of.
    public static var getRequest: String { "get=1\n\n" }

    /// The request that ``EngineStatus/init(answer:)`` reads the answer of.
    public static var statusRequest: String { "status=1\n\n" }

    /// The answer to a request that was carried out.
    public static var successAnswer: String { "errno=0\n\n" }

    private static func append(_ peer: PeerStatus, to text: inout String) {
        text.append("public_key", peer.publicKey.hex)
        text.append("preshared_key", peer.presharedKey?.unsafeHex() ?? zeroKey)
        text.append("protocol_version", 1)
        if let endpoint = peer.endpoint { text.append("endpoint", endpoint) }
        text.append("last_handshake_time_sec", peer.lastHandshakeSeconds)
        text.append("last_handshake_time_nsec", peer.lastHandshakeNanoseconds)
        text.append("tx_bytes", peer.transmittedBytes)
        text.append("rx_bytes", peer.receivedBytes)
        text.append("persistent_keepalive_interval", peer.persistentKeepaliveSeconds)
        for prefix in peer.allowedIPs { text.append("allowed_ip", prefix) }
    }

    private static func append(_ peer: PeerSettings, to text: inout String) {
        text.append("public_key", peer.publicKey.hex)
        if peer.remove {
            text.append("remove", true)
            return
        }
        if peer.updateOnly { text.append("update_only", true) }
        if let change = peer.presharedKey {
            text.append("preshared_key", change.secret?.unsafeHex() ?? zeroKey)
        }
        if let endpoint = peer.endpoint { text.append("endpoint", endpoint) }
        if let seconds = peer.persistentKeepaliveSeconds {
            text.append("persistent_keepalive_interval", seconds)
        }
        if peer.replaceAllowedIPs { text.append("replace_allowed_ips", true) }
        for change in peer.allowedIPs {
            switch change {
            case .add(let prefix): text.append("allowed_ip", prefix)
            case .remove(let prefix): text.append("allowed_ip", "-\(prefix)")
            }
        }
    }

    private static let zeroKey = String(repeating: "0", count: 64)
}

extension String {
    /// Appends one line of `key=value`.
    mutating func append(_ key: String, _ value: some CustomStringConvertible) {
        self += "\(key)=\(value)\n"
    }
}
