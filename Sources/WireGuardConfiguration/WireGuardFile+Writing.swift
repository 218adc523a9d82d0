internal import Cryptography
internal import PacketFormats

extension WireGuardFile {
    /// The file's text; it contains the private key.
    public var text: String {
        var text = interface.text
        for peer in peers { text += "\n" + peer.text }
        return text
    }
}

extension WireGuardFile.Interface {
    fileprivate var text: String {
        var text = "[Interface]\n"
        for address in addresses { text.appendSetting("Address", address) }
        let dns = dnsServers.map(\.description) + dnsSearchDomains
        if !dns.isEmpty { text.appendSetting("DNS", dns.joined(separator: ", ")) }
        if let mtu { text.appendSetting("MTU", mtu) }
        if let table { text.appendSetting("Table", table) }
        if saveConfig { text.appendSetting("SaveConfig", true) }
        for command in preUp { text.appendSetting("PreUp", command) }
        for command in postUp { text.appendSetting("PostUp", command) }
        for command in preDown { text.appendSetting("PreDown", command) }
        for command in postDown { text.appendSetting("PostDown", command) }
        if let listenPort { text.appendSetting("ListenPort", listenPort) }
        if let firewallMark {
            let digits = String(firewallMark, radix: 16)
            text.appendSetting("FwMark", firewallMark == 0 ? "off" : "0x\(digits)")
        }
        if let privateKey { text.appendSetting("PrivateKey", privateKey.unsafeBase64()) }
        return text
    }
}

extension WireGuardFile.Peer {
    fileprivate var text: String {
        var text = "[Peer]\n"
        text.appendSetting("PublicKey", publicKey.base64)
        if let presharedKey { text.appendSetting("PresharedKey", presharedKey.unsafeBase64()) }
        // Several lines, so that none passes the limit of a line's length.
        for start in stride(from: 0, to: allowedIPs.count, by: Self.prefixesPerLine) {
            let part = allowedIPs[start..<min(start + Self.prefixesPerLine, allowedIPs.count)]
            text.appendSetting("AllowedIPs", part.map(\.description).joined(separator: ", "))
        }
        if let endpoint { text.appendSetting("Endpoint", endpoint) }
        if let persistentKeepaliveSeconds {
            let isOff = persistentKeepaliveSeconds == 0
            text.appendSetting(
                "PersistentKeepalive", isOff ? "off" : "\(persistentKeepaliveSeconds)")
        }
        return text
    }

    private static let prefixesPerLine = 512
}

extension WireGuardFile.Table: CustomStringConvertible {
    public var description: String {
        switch self {
        case .off: "off"
        case .automatic: "auto"
        case .number(let number): String(number)
        }
    }
}

extension String {
    /// Appends one line of `Key = value`.
    fileprivate mutating func appendSetting(_ key: String, _ value: some CustomStringConvertible) {
        self += "\(key) = \(value)\n"
    }
}
