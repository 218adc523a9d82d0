internal import Cryptography
internal import PacketFormats

extension WireGuardFile {
    /// The file's text; it contains the private key, and the caller wipes it.
    public var text: [UInt8] {
        var text: [UInt8] = []
        interface.append(to: &text)
        for peer in peers {
            text.appendWiping("\n".utf8)
            peer.append(to: &text)
        }
        return text
    }
}

extension WireGuardFile.Interface {
    fileprivate func append(to text: inout [UInt8]) {
        text.appendWiping("[Interface]\n".utf8)
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
        if let privateKey {
            text.appendSetting("PrivateKey", privateKey.unsafeAppendBase64)
        }
    }
}

extension WireGuardFile.Peer {
    fileprivate func append(to text: inout [UInt8]) {
        text.appendWiping("[Peer]\n".utf8)
        text.appendSetting("PublicKey", publicKey.base64)
        if let presharedKey {
            text.appendSetting("PresharedKey", presharedKey.unsafeAppendBase64)
        }
        if let profile {
            text.appendSetting("Profile", profile.profileWord)
            if profile != .wireguard { text.appendSetting("Cipher", profile.cipherWord) }
        }
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

extension [UInt8] {
    /// Appends one line of `Key = value`.
    fileprivate mutating func appendSetting(_ key: String, _ value: some CustomStringConvertible) {
        appendWiping("\(key) = \(value)\n".utf8)
    }

    /// Appends one line of `Key = secret`.
    fileprivate mutating func appendSetting(
        _ key: String, _ appendBase64: (inout [UInt8]) -> Void
    ) {
        appendWiping("\(key) = ".utf8)
        appendBase64(&self)
        appendWiping("\n".utf8)
    }
}
