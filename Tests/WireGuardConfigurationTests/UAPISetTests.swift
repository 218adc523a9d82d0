import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// `set=1` requests.
@Suite struct UAPISetTests {
    /// The example of https://www.wireguard.com/xplatform/, shortened to one of each key.
    @Test func everyKeyIsRead() throws {
        let settings = try Samples.settings(
            "private_key=\(Samples.privateHex)", "listen_port=12912", "fwmark=0",
            "replace_peers=true", "public_key=\(Samples.peerHex[0])",
            "preshared_key=\(Samples.presharedHex)", "protocol_version=1",
            "endpoint=[abcd:23::33%2]:51820", "replace_allowed_ips=true",
            "allowed_ip=192.168.4.4/32", "allowed_ip=-fd00::/8",
            "persistent_keepalive_interval=111", "public_key=\(Samples.peerHex[1])",
            "update_only=true", "endpoint=182.122.22.19:3233", "public_key=\(Samples.peerHex[2])",
            "remove=true")
        #expect(
            string(settings.privateKey?.secret?.unsafeAppendHex)
                == string(PrivateKey(hex: Samples.privateHex.utf8)?.unsafeAppendHex))
        #expect(settings.listenPort == 12912)
        #expect(settings.firewallMark == 0)
        #expect(settings.replacePeers)
        try #require(settings.peers.count == 3)
        let first = settings.peers[0]
        #expect(first.publicKey.hex == Samples.peerHex[0])
        #expect(string(first.presharedKey?.secret?.unsafeAppendHex) == Samples.presharedHex)
        #expect(first.endpoint?.description == "[abcd:23::33%2]:51820")
        #expect(first.replaceAllowedIPs)
        let v4 = try #require(IPPrefix("192.168.4.4/32"))
        let v6 = try #require(IPPrefix("fd00::/8"))
        #expect(first.allowedIPs == [.add(v4), .remove(v6)])
        #expect(first.persistentKeepaliveSeconds == 111)
        #expect(!first.updateOnly && !first.remove)
        #expect(settings.peers[1].updateOnly)
        #expect(settings.peers[1].endpoint?.port == 3233)
        #expect(settings.peers[2].remove)
    }

    @Test func rotationsHaveNoTextOfTheirOwn() throws {
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        let privateKey = try #require(PrivateKey(hex: Samples.privateHex.utf8))
        var settings = DeviceSettings(
            privateKey: .set(privateKey), peers: [PeerSettings(publicKey: key)])
        let text = UAPI.serialize(settings)
        settings.rotatesPrivateKey = true
        settings.peers[0].successorKey = PublicKey(hex: Samples.peerHex[1])
        #expect(UAPI.serialize(settings) == text)
        guard case .set(let read) = try UAPI.parse(request: text) else {
            Issue.record("not a set request")
            return
        }
        #expect(!read.rotatesPrivateKey)
        #expect(read.peers.map(\.successorKey) == [nil])
        for line in ["successor_key=\(Samples.peerHex[1])", "rotates_private_key=true"] {
            #expect(throws: UAPIError.self) { try Samples.settings(line) }
        }
    }

    @Test func whatIsNotMentionedStaysUnchanged() throws {
        let settings = try Samples.settings()
        #expect(settings.privateKey == nil && settings.listenPort == nil)
        #expect(settings.firewallMark == nil && !settings.replacePeers && settings.peers.isEmpty)
        let peer = try Samples.peer()
        #expect(peer.presharedKey == nil && peer.endpoint == nil)
        #expect(peer.persistentKeepaliveSeconds == nil && peer.allowedIPs.isEmpty)
        #expect(!peer.remove && !peer.updateOnly && !peer.replaceAllowedIPs)
    }

    @Test func zeroKeysAreRemovals() throws {
        let settings = try Samples.settings("private_key=\(Samples.zeroHex)")
        guard case .remove = settings.privateKey else {
            Issue.record("a zero private key is not a removal")
            return
        }
        guard case .remove = try Samples.peer("preshared_key=\(Samples.zeroHex)").presharedKey
        else {
            Issue.record("a zero preshared key is not a removal")
            return
        }
    }

    @Test func prefixesBeforeReplacementAreForgotten() throws {
        let peer = try Samples.peer(
            "allowed_ip=10.0.0.0/8", "replace_allowed_ips=true", "allowed_ip=10.1.0.0/16")
        let kept = try #require(IPPrefix("10.1.0.0/16"))
        #expect(peer.replaceAllowedIPs && peer.allowedIPs == [.add(kept)])
    }

    @Test func linesAfterRemovalAreCheckedButIgnored() throws {
        let peer = try Samples.peer("remove=true", "allowed_ip=10.0.0.0/8", "update_only=true")
        #expect(peer.remove && peer.allowedIPs.isEmpty && !peer.updateOnly)
        #expect(throws: UAPIError.self) { try Samples.peer("remove=true", "allowed_ip=x") }
    }

    @Test func aPeerMayOccurTwice() throws {
        let key = "public_key=\(Samples.peerHex[0])"
        let settings = try Samples.settings(key, "remove=true", key, "allowed_ip=10.0.0.0/8")
        #expect(settings.peers.map(\.remove) == [true, false])
    }

    @Test func everythingAfterTheEmptyLineIsIgnored() throws {
        let request = try UAPI.parse(request: "set=1\nlisten_port=1\n\nlisten_port=x\n")
        guard case .set(let settings) = request else {
            Issue.record("not a set request")
            return
        }
        #expect(settings.listenPort == 1)
    }

    @Test func namedScopesAreAskedFor() throws {
        let text = "set=1\npublic_key=\(Samples.peerHex[0])\nendpoint=[fe80::1%eth0]:1\n\n"
        let request = try UAPI.parse(request: text) { $0 == "eth0" ? 7 : nil }
        guard case .set(let settings) = request else {
            Issue.record("not a set request")
            return
        }
        #expect(settings.peers.first?.endpoint?.scope == 7)
        #expect(throws: UAPIError.self) { try UAPI.parse(request: text) }
    }

    @Test(arguments: [
        ("listen_port=0", true), ("listen_port=65535", true), ("listen_port=65536", false),
        ("listen_port=-1", false), ("listen_port=+1", false), ("listen_port=", false),
        ("listen_port=1 ", false), ("listen_port=0x10", false),
        ("listen_port=99999999999999999999999", false),
        ("fwmark=4294967295", true), ("fwmark=4294967296", false), ("fwmark=0xff", false),
        ("replace_peers=true", true), ("replace_peers=false", false),
        ("replace_peers=", false), ("profile=wireguard", false),
        ("protocol_version=1", false), ("nonsense=1", false),
        ("allowed_ip=10.0.0.0/8", false), ("private_key=\(Samples.privateHex)0", false),
        ("private_key=\(Samples.privateHex.dropLast())", false), ("private_key=", false),
        ("private_key=\(Samples.privateBase64)", false),
        ("public_key=\(Samples.peerHex[0])", true), ("public_key=\(Samples.peerHex[0])0", false),
        ("public_key=", false),
    ])
    func deviceLines(_ line: String, isAccepted: Bool) throws {
        check("set=1\nlisten_port=1\n\(line)\n\n", line: 3, isAccepted)
    }

    @Test(arguments: [
        ("persistent_keepalive_interval=0", true), ("persistent_keepalive_interval=65535", true),
        ("persistent_keepalive_interval=65536", false),
        ("persistent_keepalive_interval=off", false),
        ("allowed_ip=0.0.0.0/0", true), ("allowed_ip=10.0.0.1/32", true),
        ("allowed_ip=10.0.0.1/33", false), ("allowed_ip=10.0.0.1/-1", false),
        ("allowed_ip=::/0", true), ("allowed_ip=::1/128", true), ("allowed_ip=::1/129", false),
        ("allowed_ip=10.0.0.1", false), ("allowed_ip=10.0.0.1/", false), ("allowed_ip=", false),
        ("allowed_ip=-10.0.0.0/8", true), ("allowed_ip=-", false),
        ("allowed_ip=--10.0.0.0/8", false), ("allowed_ip=host/8", false),
        ("endpoint=1.2.3.4:0", false), ("endpoint=1.2.3.4:1", true),
        ("endpoint=1.2.3.4:65535", true),
        ("endpoint=1.2.3.4:65536", false), ("endpoint=1.2.3.4", false),
        ("endpoint=1.2.3:4", false), ("endpoint=example.org:1", false),
        ("endpoint=[::1]:1", true), ("endpoint=::1:1", false), ("endpoint=[::1]1", false),
        ("endpoint=[1.2.3.4]:1", false), ("endpoint=[::1:1", false), ("endpoint=", false),
        ("endpoint=[fe80::1%]:1", false), ("endpoint=[fe80::1%4294967296]:1", false),
        ("preshared_key=\(Samples.presharedHex)", true), ("preshared_key=00", false),
        ("profile=wireguard", true), ("profile=branchline-aes256gcm", true),
        ("profile=branchline-chacha20poly1305", true), ("profile=branchline", false),
        ("profile=", false),
        ("update_only=true", true), ("update_only=1", false), ("remove=false", false),
        ("replace_allowed_ips=yes", false), ("protocol_version=1", true),
        ("protocol_version=2", false), ("listen_port=1", false), ("rx_bytes=1", false),
    ])
    func peerLines(_ line: String, isAccepted: Bool) throws {
        check("set=1\npublic_key=\(Samples.peerHex[0])\n\(line)\n\n", line: 3, isAccepted)
    }

    private func check(_ request: String, line: Int, _ isAccepted: Bool) {
        let error = failure { () throws(UAPIError) in _ = try UAPI.parse(request: request) }
        #expect((error == nil) == isAccepted)
        guard let error else { return }
        #expect(error.line == line)
        #expect(error.errorNumber == -22)
        #expect(error.answer == Array("errno=-22\n\n".utf8))
        #expect(!error.description.contains(Samples.privateHex.prefix(20)))
        #expect(!error.description.contains(Samples.privateBase64.prefix(20)))
    }

    @Test func aLineWithoutEqualsSignBreaksTheProtocol() throws {
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(request: "set=1\nlisten_port\n\n")
        }
        #expect(error == UAPIError(.protocolViolation, line: 2, "not of the form key=value"))
        #expect(error?.errorNumber == -71)
    }

    @Test func longLinesAreRefused() throws {
        let limit = ConfigurationLimits.lineBytesMax
        let prefix = "fwmark="
        let longest = prefix + String(repeating: "0", count: limit - prefix.count)
        #expect(throws: Never.self) { try Samples.settings(longest) }
        #expect(throws: UAPIError.self) { try Samples.settings(longest + "0") }
    }

    @Test func tooManyPeersAreRefused() throws {
        let line = "public_key=\(Samples.peerHex[0])\n"
        let most = "set=1\n" + String(repeating: line, count: ConfigurationLimits.peersMax)
        #expect(throws: Never.self) { try UAPI.parse(request: most) }
        let error = failure { () throws(UAPIError) in _ = try UAPI.parse(request: most + line) }
        #expect(error?.line == ConfigurationLimits.peersMax + 2)
    }
}
