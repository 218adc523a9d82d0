import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// Files that are accepted.
@Suite struct WireGuardFileTests {
    static let everything = """
        # A comment, and an empty line

        [Interface]
        Address = 10.200.100.8/24, fd00::8/64
        Address = 10.9.0.1
        DNS = 10.200.100.1, fd00::1, corp.example
        MTU = 1380
        Table = 1234
        SaveConfig = true
        PreUp = echo pre %i
        PostUp = echo post; echo "a = b"
        PostUp = echo second
        PreDown = echo predown
        PostDown = echo postdown
        ListenPort = 51820
        FwMark = 0xca6c
        PrivateKey = \(Samples.privateBase64)

        [Peer]
        PublicKey = \(Samples.peerBase64[0])
        PresharedKey = \(Samples.presharedBase64)
        AllowedIPs = 10.192.122.3/32, 10.192.124.1/24
        AllowedIPs = ::/0
        Endpoint = 192.95.5.67:1234
        PersistentKeepalive = 25

        [Peer]  # no endpoint: it comes to us
        PublicKey = \(Samples.peerBase64[1])
        AllowedIPs =
        PersistentKeepalive = off
        """

    @Test func everySettingIsRead() throws {
        let file = try WireGuardFile(parsing: Self.everything)
        let interface = file.interface
        #expect(string(interface.privateKey?.unsafeAppendBase64) == Samples.privateBase64)
        #expect(
            interface.addresses.map(\.description)
                == ["10.200.100.8/24", "fd00::8/64", "10.9.0.1/32"])
        #expect(interface.dnsServers.map(\.description) == ["10.200.100.1", "fd00::1"])
        #expect(interface.dnsSearchDomains == ["corp.example"])
        #expect(interface.mtu == 1380 && interface.table == .number(1234))
        #expect(interface.saveConfig)
        #expect(interface.preUp == ["echo pre %i"])
        #expect(interface.postUp == ["echo post; echo \"a = b\"", "echo second"])
        #expect(interface.preDown == ["echo predown"] && interface.postDown == ["echo postdown"])
        #expect(interface.listenPort == 51820 && interface.firewallMark == 51820)
        try #require(file.peers.count == 2)
        let peer = file.peers[0]
        #expect(peer.publicKey.base64 == Samples.peerBase64[0])
        #expect(string(peer.presharedKey?.unsafeAppendBase64) == Samples.presharedBase64)
        #expect(
            peer.allowedIPs.map(\.description) == ["10.192.122.3/32", "10.192.124.0/24", "::/0"])
        #expect(peer.endpoint?.description == "192.95.5.67:1234")
        #expect(peer.persistentKeepaliveSeconds == 25)
        #expect(file.peers[1].endpoint == nil && file.peers[1].persistentKeepaliveSeconds == 0)
    }

    @Test func textSurvivesTheRoundTrip() throws {
        let text = try WireGuardFile(parsing: Self.everything).text
        #expect(try WireGuardFile(parsing: text).text == text)
        for line in ["FwMark = 0xca6c", "PostUp = echo second", "PersistentKeepalive = off"] {
            #expect(string(text).contains(line))
        }
    }

    @Test func caseSpaceAndLineEndsDoNotMatter() throws {
        let text =
            "\u{FEFF}\t[iNTERFACE] \r\n LISTENport=1\r\n\r\n[PEER]\r\npublickey\t=\t"
            + Samples.peerBase64[0] + "\r\nALLOWEDIPS=10.0.0.0/8 ,10.1.0.0/16\r\n"
        let file = try WireGuardFile(parsing: text)
        #expect(file.interface.listenPort == 1)
        #expect(file.peers.first?.allowedIPs.count == 2)
    }

    @Test func laterValuesReplaceEarlierOnes() throws {
        let file = try WireGuardFile(
            parsing: "[Interface]\nMTU=1\u{30}00\nMTU=1400\n[Interface]\nListenPort=7\n")
        #expect(file.interface.mtu == 1400 && file.interface.listenPort == 7)
    }

    @Test func zeroKeysMeanNone() throws {
        let file = try WireGuardFile(
            parsing: """
                [Interface]
                PrivateKey = \(Samples.zeroBase64)
                [Peer]
                PublicKey = \(Samples.peerBase64[0])
                PresharedKey = \(Samples.zeroBase64)
                """)
        #expect(file.interface.privateKey == nil)
        #expect(file.peers.first?.presharedKey == nil)
    }

    @Test func tablesHaveNumbersAndWords() throws {
        let words: [(String, WireGuardFile.Table)] = [
            ("off", .off), ("auto", .automatic), ("main", .number(254)), ("1", .number(1)),
            ("4294967295", .number(.max)), ("OFF", .off),
        ]
        for (text, table) in words {
            let file = try WireGuardFile(parsing: "[Interface]\nTable = \(text)")
            #expect(file.interface.table == table)
        }
        #expect(try WireGuardFile(parsing: "[Interface]").interface.table == nil)
    }

    @Test func longListsAreWrittenOnSeveralLines() throws {
        var peer = WireGuardFile.Peer(publicKey: PrivateKey.generate().publicKey)
        peer.allowedIPs = (0..<5000).compactMap {
            IPPrefix(IPAddress(high: .max, low: UInt64($0) << 8), length: 128)
        }
        let text = string(WireGuardFile(peers: [peer]).text)
        let longest = text.split(separator: "\n").map(\.utf8.count).max() ?? 0
        #expect(longest < ConfigurationLimits.lineBytesMax)
        #expect(try WireGuardFile(parsing: text).peers.first?.allowedIPs == peer.allowedIPs)
    }

    @Test func aFileReplacesAllSettings() throws {
        let file = try WireGuardFile(
            parsing:
                "[Interface]\n[Peer]\nPublicKey=\(Samples.peerBase64[0])\nEndpoint=a.example:9\n")
        let settings = file.deviceSettings { host in
            #expect(host == .name("a.example", port: 9))
            return Endpoint(address: IPAddress(ipv4: 1), port: 9)
        }
        guard case .remove = settings.privateKey else {
            Issue.record("a missing private key leaves the old one")
            return
        }
        #expect(settings.listenPort == 0 && settings.firewallMark == 0 && settings.replacePeers)
        let peer = try #require(settings.peers.first)
        #expect(peer.replaceAllowedIPs && peer.endpoint?.port == 9)
        #expect(peer.presharedKey == nil && peer.persistentKeepaliveSeconds == nil)
    }

    @Test func anEndpointThatNothingCanBeSentToIsLeftOut() throws {
        let text = "public_key=\(Samples.peerHex[0])\nendpoint=192.0.2.1:0\nerrno=0\n\n"
        let status = try UAPI.parse(answer: Array(text.utf8))
        #expect(status.peers.first?.endpoint?.port == 0)
        #expect(try WireGuardFile(parsing: WireGuardFile(status).text).peers.first?.endpoint == nil)
    }

    @Test func aDevicesStatusBecomesAFile() throws {
        let status = try UAPI.parse(answer: Array(UAPIAnswerTests.wireguardGoAnswer.utf8))
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        #expect(
            string(WireGuardFile(status).text) == """
                [Interface]
                ListenPort = 45630

                [Peer]
                PublicKey = \(key.base64)
                AllowedIPs = 10.0.0.0/8
                Endpoint = [::ffff:1.2.3.4]:1

                """)
    }
}
