internal import Cryptography
internal import PacketFormats

/// One line of the form `Key = value`.
struct Setting {
    let key: Substring
    let value: Substring
    let line: Int
}

extension WireGuardFile.Interface {
    mutating func read(_ setting: Setting) throws(WireGuardFileError) {
        switch setting.key.lowercased() {
        case "listenport":
            listenPort = try setting.number(
                "ListenPort", in: 0...UInt16.max, "a port from 0 (any) to 65535")
        case "fwmark":
            firewallMark = try setting.firewallMark()
        case "address":
            addresses += try setting.list(
                "Address", "addresses such as 10.0.0.2/24 or fd00::2/64"
            ) { AddressSetting(String($0)) }
        case "dns":
            try readDNS(setting)
        case "mtu":
            mtu = try setting.number(
                "MTU", in: WireGuardFile.mtuRange,
                "\(WireGuardFile.mtuRange.lowerBound) to "
                    + "\(WireGuardFile.mtuRange.upperBound) bytes")
        case "table": table = try setting.table()
        case "preup": preUp.append(try setting.command("PreUp"))
        case "postup": postUp.append(try setting.command("PostUp"))
        case "predown": preDown.append(try setting.command("PreDown"))
        case "postdown": postDown.append(try setting.command("PostDown"))
        case "saveconfig": saveConfig = try setting.boolean("SaveConfig")
        default:
            throw setting.unknown(
                in: "[Interface]",
                accepted: "PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, "
                    + "PostUp, PreDown, PostDown and SaveConfig")
        }
    }

    /// Addresses are servers, everything else is a search domain.
    private mutating func readDNS(_ setting: Setting) throws(WireGuardFileError) {
        let entries = try setting.list("DNS", "addresses of servers and names of search domains") {
            $0.isEmpty || $0.contains(where: \.isWhitespace) ? nil : $0
        }
        for entry in entries {
            if let address = IPAddress(String(entry)) {
                dnsServers.append(address)
            } else {
                dnsSearchDomains.append(String(entry))
            }
        }
    }
}

/// A `[Peer]` section while it is being read.
struct PeerSection {
    /// Line of the header.
    let line: Int
    private var publicKey: PublicKey?
    var presharedKey: PresharedKey?
    private var endpoint: HostEndpoint?
    private var persistentKeepaliveSeconds: UInt16?
    private var allowedIPs: [IPPrefix] = []
    private var profile = ProfileSettings()

    init(line: Int) {
        self.line = line
    }

    mutating func read(_ setting: Setting) throws(WireGuardFileError) {
        switch setting.key.lowercased() {
        case "publickey":
            guard let key = PublicKey(base64: String(setting.value)) else {
                throw WireGuardFileError(notAKey: "PublicKey", line: setting.line)
            }
            publicKey = key
        case "endpoint":
            guard let value = HostEndpoint(String(setting.value)) else {
                throw setting.refused(
                    "Endpoint",
                    accepted: "an address or host name and a port, such as 192.0.2.1:51820, "
                        + "[2001:db8::1]:51820 or vpn.example.org:51820")
            }
            endpoint = value
        case "persistentkeepalive":
            persistentKeepaliveSeconds = try setting.keepalive()
        case "profile":
            try profile.readProfile(setting)
        case "cipher":
            try profile.readCipher(setting)
        case "allowedips":
            if setting.value.isEmpty { return }
            allowedIPs += try setting.list(
                "AllowedIPs", "prefixes such as 10.0.0.0/8 or fd00::/8"
            ) { IPPrefix(String($0)) }
            guard allowedIPs.count <= ConfigurationLimits.allowedIPsMax else {
                throw setting.refused(
                    "AllowedIPs", accepted: "at most \(ConfigurationLimits.allowedIPsMax) prefixes")
            }
        default:
            throw setting.unknown(
                in: "[Peer]",
                accepted: "PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive, "
                    + "Profile and Cipher")
        }
    }

    /// The finished section.
    func peer() throws(WireGuardFileError) -> WireGuardFile.Peer {
        guard let publicKey else {
            throw WireGuardFileError(
                line: line, key: "[Peer]", reason: "has no PublicKey",
                accepted: "PublicKey = followed by the peer's key in base64")
        }
        var peer = WireGuardFile.Peer(publicKey: publicKey)
        peer.presharedKey = presharedKey
        peer.profile = try profile.profile()
        peer.endpoint = endpoint
        peer.persistentKeepaliveSeconds = persistentKeepaliveSeconds
        peer.allowedIPs = allowedIPs
        return peer
    }
}

extension WireGuardFile {
    /// From the smallest MTU of IPv4 (RFC 791) to the largest packet that IPv4 can describe.
    static let mtuRange = 68...65_535
}

extension Setting {
    func number<Value: FixedWidthInteger>(
        _ name: String, in range: ClosedRange<Value>, _ accepted: String
    ) throws(WireGuardFileError) -> Value {
        guard let number: Value = NumberText.decimal(value), range.contains(number) else {
            throw refused(name, accepted: accepted)
        }
        return number
    }

    /// `off`, a decimal number or a hexadecimal one after `0x`.
    func firewallMark() throws(WireGuardFileError) -> UInt32 {
        if value.lowercased() == "off" { return 0 }
        let parsed: UInt32? =
            value.hasPrefix("0x")
            ? NumberText.value(of: value.dropFirst(2).utf8, radix: 16)
            : NumberText.decimal(value)
        guard let parsed else {
            throw refused("FwMark", accepted: "off, or 0 to 4294967295 (0xffffffff)")
        }
        return parsed
    }

    func keepalive() throws(WireGuardFileError) -> UInt16 {
        if value.lowercased() == "off" { return 0 }
        return try number(
            "PersistentKeepalive", in: 0...UInt16.max, "off, or 0 (off) to 65535 seconds")
    }

    func table() throws(WireGuardFileError) -> WireGuardFile.Table {
        switch value.lowercased() {
        case "off": return .off
        case "auto": return .automatic
        case "main": return .number(254)
        case "default": return .number(253)
        case "local": return .number(255)
        default:
            let range: ClosedRange<UInt32> = 1...UInt32.max
            return .number(
                try number("Table", in: range, "off, auto, or a table's number from 1"))
        }
    }

    func boolean(_ name: String) throws(WireGuardFileError) -> Bool {
        switch value.lowercased() {
        case "true": return true
        case "false": return false
        default: throw refused(name, accepted: "true or false")
        }
    }

    func command(_ name: String) throws(WireGuardFileError) -> String {
        guard !value.isEmpty else { throw refused(name, accepted: "a shell command") }
        return String(value)
    }

    /// Reads a comma-separated list whose every entry must be accepted by `entry`.
    func list<Entry>(
        _ name: String, _ accepted: String, _ entry: (Substring) -> Entry?
    ) throws(WireGuardFileError) -> [Entry] {
        var entries: [Entry] = []
        for text in value.commaSeparated {
            guard let entry = entry(text) else {
                throw WireGuardFileError(
                    line: line, key: name, reason: "has \(quoted(text))", accepted: accepted)
            }
            entries.append(entry)
        }
        return entries
    }

    func refused(_ name: String, accepted: String) -> WireGuardFileError {
        WireGuardFileError(
            line: line, key: name, reason: "is \(quoted(value))", accepted: accepted)
    }

    func unknown(in section: String, accepted: String) -> WireGuardFileError {
        WireGuardFileError(
            line: line, reason: "has \(quoted(key)), which is no setting of \(section)",
            accepted: accepted)
    }
}
