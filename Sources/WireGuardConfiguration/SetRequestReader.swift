internal import Cryptography
internal import PacketFormats

/// Collects the lines of a `set=1` request.
///
/// The lines of a peer are applied in their order by wireguard-go; the typed form has the same
/// effect: prefixes before `replace_allowed_ips` and everything after `remove` are dropped.
struct SetRequestReader {
    private let scope: UAPI.ScopeResolver
    private var settings = DeviceSettings()
    /// The peer whose lines are being read; `nil` in the device's own part.
    private var peer: PeerSettings?

    init(scope: @escaping UAPI.ScopeResolver) {
        self.scope = scope
    }

    mutating func read(key: String, value: ArraySlice<UInt8>, line: Int) throws(UAPIError) {
        if key == "public_key" {
            try beginPeer(String(decoding: value, as: UTF8.self), line)
        } else if peer == nil {
            try readDevice(key, value, line)
        } else {
            try readPeer(key, value, line)
        }
    }

    mutating func finish() -> DeviceSettings {
        endPeer()
        return settings
    }

    private mutating func beginPeer(_ value: String, _ line: Int) throws(UAPIError) {
        endPeer()
        guard settings.peers.count < ConfigurationLimits.peersMax else {
            throw refusal(line, "more than \(ConfigurationLimits.peersMax) peers")
        }
        guard let publicKey = PublicKey(hex: value) else {
            throw refusal(line, "public_key is not 64 hexadecimal digits")
        }
        peer = PeerSettings(publicKey: publicKey)
    }

    private mutating func endPeer() {
        guard let finished = peer else { return }
        settings.peers.append(finished)
        peer = nil
    }

    private mutating func readDevice(
        _ key: String, _ value: ArraySlice<UInt8>, _ line: Int
    ) throws(UAPIError) {
        var text: String { String(decoding: value, as: UTF8.self) }
        switch key {
        case "private_key":
            if isZeroKey(value) {
                settings.privateKey = .remove
            } else if let privateKey = PrivateKey(hex: value) {
                settings.privateKey = .set(privateKey)
            } else {
                throw refusal(line, "private_key is not 64 hexadecimal digits")
            }
        case "listen_port":
            settings.listenPort = try integer(key, text, line)
        case "fwmark":
            settings.firewallMark = try integer(key, text, line)
        case "replace_peers":
            try requireTrue(key, text, line)
            settings.replacePeers = true
        default:
            throw refusal(line, "\(quoted(key)) is not a key of the interface")
        }
    }

    private mutating func readPeer(
        _ key: String, _ value: ArraySlice<UInt8>, _ line: Int
    ) throws(UAPIError) {
        var text: String { String(decoding: value, as: UTF8.self) }
        guard var changed = peer else { return }
        peer = nil  // so that `changed` owns its list alone and appending does not copy it
        let wasRemoved = changed.remove
        switch key {
        case "update_only":
            try requireTrue(key, text, line)
            changed.updateOnly = true
        case "remove":
            try requireTrue(key, text, line)
            changed = PeerSettings(publicKey: changed.publicKey, remove: true)
        case "preshared_key":
            changed.presharedKey = try presharedKey(value, line)
        case "profile":
            changed.profile = try profile(text, line)
        case "endpoint":
            changed.endpoint = try endpoint(text, line)
        case "persistent_keepalive_interval":
            changed.persistentKeepaliveSeconds = try integer(key, text, line)
        case "replace_allowed_ips":
            try requireTrue(key, text, line)
            changed.replaceAllowedIPs = true
            changed.allowedIPs = []
        case "allowed_ip":
            try appendAllowedIP(text, line, to: &changed)
        case "protocol_version":
            guard text == "1" else {
                throw refusal(line, "protocol_version is \(quoted(text)); accepted: 1")
            }
        default:
            throw refusal(line, "\(quoted(key)) is not a key of a peer")
        }
        peer = wasRemoved ? PeerSettings(publicKey: changed.publicKey, remove: true) : changed
    }

    private func presharedKey(
        _ value: ArraySlice<UInt8>, _ line: Int
    ) throws(UAPIError) -> SecretChange<PresharedKey> {
        if isZeroKey(value) { return .remove }
        guard let key = PresharedKey(hex: value) else {
            throw refusal(line, "preshared_key is not 64 hexadecimal digits")
        }
        return .set(key)
    }

    private func profile(_ value: String, _ line: Int) throws(UAPIError) -> TunnelProfile {
        guard let profile = TunnelProfile(rawValue: value) else {
            let accepted = TunnelProfile.allCases.map(\.rawValue).joined(separator: ", ")
            throw refusal(line, "profile is \(quoted(value)); accepted: \(accepted)")
        }
        return profile
    }

    private func endpoint(_ value: String, _ line: Int) throws(UAPIError) -> Endpoint {
        guard let endpoint = Endpoint(value, scope: scope), endpoint.port != 0 else {
            throw refusal(
                line,
                "endpoint is \(quoted(value)); accepted: an address and port such as "
                    + "192.0.2.1:51820 or [2001:db8::1]:51820")
        }
        return endpoint
    }

    private func appendAllowedIP(
        _ value: String, _ line: Int, to changed: inout PeerSettings
    ) throws(UAPIError) {
        let isRemoval = value.hasPrefix("-")
        let text = isRemoval ? value.dropFirst() : value[...]
        guard text.contains("/"), let prefix = IPPrefix(String(text)) else {
            throw refusal(
                line,
                "allowed_ip is \(quoted(value)); accepted: a prefix such as 10.0.0.0/8 or "
                    + "fd00::/8, after a minus sign to take it away")
        }
        guard changed.allowedIPs.count < ConfigurationLimits.allowedIPsMax else {
            throw refusal(line, "more than \(ConfigurationLimits.allowedIPsMax) allowed IPs")
        }
        changed.allowedIPs.append(isRemoval ? .remove(prefix) : .add(prefix))
    }

    private func integer<Value: FixedWidthInteger>(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> Value {
        guard let number: Value = NumberText.decimal(value) else {
            throw refusal(line, "\(key) is \(quoted(value)); accepted: 0 to \(Value.max)")
        }
        return number
    }

    private func requireTrue(_ key: String, _ value: String, _ line: Int) throws(UAPIError) {
        guard value == "true" else {
            throw refusal(line, "\(key) is \(quoted(value)); accepted: true")
        }
    }

    private func refusal(_ line: Int, _ reason: String) -> UAPIError {
        UAPIError(.invalid, line: line, reason)
    }
}

/// Whether a key is written as nothing but zeros, which takes it away.
func isZeroKey(_ hex: ArraySlice<UInt8>) -> Bool {
    hex.count == 64 && hex.allSatisfy { $0 == UInt8(ascii: "0") }
}
