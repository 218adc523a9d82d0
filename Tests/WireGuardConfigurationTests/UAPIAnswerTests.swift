import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// Answers, and requests as they are written.
@Suite struct UAPIAnswerTests {
    /// What Debian's wireguard-go answered for a peer that was never reached.
    static let wireguardGoAnswer = """
        listen_port=45630
        public_key=\(Samples.peerHex[0])
        preshared_key=\(Samples.zeroHex)
        protocol_version=1
        endpoint=[::ffff:1.2.3.4]:1
        last_handshake_time_sec=0
        last_handshake_time_nsec=0
        tx_bytes=0
        rx_bytes=0
        persistent_keepalive_interval=0
        allowed_ip=10.0.0.0/8
        errno=0


        """

    @Test func wireguardGosAnswerIsReadAndWrittenAlike() throws {
        let status = try UAPI.parse(answer: Array(Self.wireguardGoAnswer.utf8))
        #expect(status.privateKey == nil && status.listenPort == 45630)
        let peer = try #require(status.peers.first)
        #expect(peer.presharedKey == nil && peer.lastHandshakeSeconds == 0)
        #expect(peer.allowedIPs.map(\.description) == ["10.0.0.0/8"])
        #expect(string(UAPI.serialize(status)) == Self.wireguardGoAnswer)
    }

    @Test func statusSurvivesTheRoundTrip() throws {
        let key = PrivateKey.generate()
        let preshared = PresharedKey.generate()
        let largest = PeerStatus(
            publicKey: PrivateKey.generate().publicKey, presharedKey: preshared,
            endpoint: Endpoint(
                address: try #require(IPAddress("2001:db8::1")), port: 65535, scope: 3),
            lastHandshakeSeconds: .max, lastHandshakeNanoseconds: .max, transmittedBytes: .max,
            receivedBytes: .max, persistentKeepaliveSeconds: .max,
            allowedIPs: [try #require(IPPrefix("::/0")), try #require(IPPrefix("0.0.0.0/0"))])
        let status = DeviceStatus(
            privateKey: key, listenPort: .max, firewallMark: .max,
            peers: [largest, PeerStatus(publicKey: PrivateKey.generate().publicKey)])
        let text = UAPI.serialize(status)
        #expect(string(text).hasSuffix("\nerrno=0\n\n"))
        let read = try UAPI.parse(answer: text)
        #expect(read.privateKey?.isEqual(to: key) == true)
        #expect(read.peers.first?.presharedKey?.isEqual(to: preshared) == true)
        #expect(read.peers.first?.endpoint == largest.endpoint)
        #expect(read.peers.first?.receivedBytes == .max)
        #expect(read.peers.count == 2)
        #expect(UAPI.serialize(read) == text)
    }

    @Test func settingsSurviveTheRoundTrip() throws {
        let prefix = try #require(IPPrefix("10.0.0.0/8"))
        let key = PrivateKey.generate().publicKey
        let settings = DeviceSettings(
            privateKey: .set(.generate()), listenPort: 0, firewallMark: 51820, replacePeers: true,
            peers: [
                PeerSettings(publicKey: key, remove: true),
                PeerSettings(
                    publicKey: key, updateOnly: true, presharedKey: .remove,
                    endpoint: Endpoint("192.0.2.1:51820"), persistentKeepaliveSeconds: 25,
                    replaceAllowedIPs: true, allowedIPs: [.add(prefix), .remove(prefix)]),
                PeerSettings(publicKey: key, presharedKey: .set(.generate())),
            ])
        let text = UAPI.serialize(settings)
        guard case .set(let read) = try UAPI.parse(request: text) else {
            Issue.record("not a set request")
            return
        }
        #expect(UAPI.serialize(read) == text)
        #expect(read.peers.map(\.remove) == [true, false, false])
        #expect(read.peers[1].allowedIPs == [.add(prefix), .remove(prefix)])
    }

    @Test(arguments: ["errno=-22\n\n", "errno=22\n\n", "listen_port=1\nerrno=-22\n\n"])
    func refusalsAreReportedWithEitherSign(_ answer: String) {
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(answer: Array(answer.utf8))
        }
        #expect(error?.kind == .invalid)
        let other = failure { () throws(UAPIError) in
            try UAPI.requireSuccess(answer: Array(answer.utf8))
        }
        #expect(other?.kind == .invalid)
    }

    @Test func unfamiliarErrorNumbersAreNamed() {
        let error = failure { () throws(UAPIError) in
            try UAPI.requireSuccess(answer: Array("errno=-13\n\n".utf8))
        }
        #expect(error?.kind == .unknown)
        #expect(error?.description.contains("13") == true)
    }

    @Test(arguments: [
        "", "\n", "listen_port=1\n", "errno=x\n\n", "errno=--1\n\n", "errno=\n\n",
        "listen_port=65536\nerrno=0\n\n", "private_key=0\nerrno=0\n\n", "public_key=0\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nrx_bytes=18446744073709551616\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nallowed_ip=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nendpoint=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\npreshared_key=x\nerrno=0\n\n", "nonsense\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nprofile=x\nerrno=0\n\n",
    ])
    func brokenAnswersAreRefused(_ answer: String) {
        #expect(throws: UAPIError.self) { try UAPI.parse(answer: Array(answer.utf8)) }
    }

    @Test func keysOfLaterVersionsArePassedOver() throws {
        let text = "novelty=1\npublic_key=\(Samples.peerHex[0])\nnovelty=2\nerrno=0\n\n"
        #expect(try UAPI.parse(answer: Array(text.utf8)).peers.count == 1)
    }
}
