import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// Answers to `status=1`.
@Suite struct EngineStatusTests {
    @Test func statusSurvivesTheRoundTrip() throws {
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        let status = EngineStatus(
            version: "0.1.0", mtu: 1420, socketFault: "UDP port 51820 is in use", workerCount: 2,
            cipher: "libipsec-mb 1.3.0 job API, AVX512",
            offloads: ["TSO4", "USO6"], fallbacks: ["this kernel has no USO"], uptimeSeconds: .max,
            drops: [
                .init(reason: "replayed_counter", count: 7), .init(reason: "no_peer", count: 0),
            ],
            access: .init(
                connections: 3, connectionsMax: 16_384, refusedConnections: 1,
                denials: [.init(rule: "no rule", count: 9), .init(rule: "a = b", count: .max)]),
            peers: [
                .init(
                    publicKey: key, receivedPackets: 99, lostPackets: 1, profile: .branchlineAES,
                    session: .init(
                        ageSeconds: 7, sentMessages: .max, receivedMessages: 3,
                        messagesMax: 1 << 27, rekeySeconds: 113, endSeconds: 173)),
                .init(
                    publicKey: key, profile: .branchlineChaCha,
                    mismatch: .init(spoken: .wireguard, ageSeconds: 5)),
                .init(publicKey: key, session: .init(ageSeconds: 0, endSeconds: 180)),
                .init(
                    publicKey: key, profile: .branchlineAES,
                    path: .init(
                        roundTripMicroseconds: .max, roundTripMinMicroseconds: 0,
                        jitterMicroseconds: 7, lossShare: 0.25, probes: .max, answers: 3,
                        mtu: 1_480, isMTUConfirmed: true)),
                .init(publicKey: key, profile: .branchlineAES, path: .init(probes: 1, mtu: 1_280)),
            ])
        let text = UAPI.serialize(status)
        #expect(string(text).hasSuffix("\nerrno=0\n\n"))
        #expect(try EngineStatus(answer: text) == status)
    }

    @Test(arguments: ["access_denied=7", "access_denied=x y", "access_connections=-1"])
    func damagedAccessLinesAreRefused(line: String) {
        #expect(throws: UAPIError.self) {
            try EngineStatus(answer: Array("\(line)\nerrno=0\n\n".utf8))
        }
    }

    /// Nothing is measured before the first answer.
    @Test func pathBeforeItsFirstAnswerHasNoTimes() throws {
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        let status = EngineStatus(peers: [.init(publicKey: key, path: .init(mtu: 1_480))])
        let lines = string(UAPI.serialize(status)).split(separator: "\n").map(String.init)
        #expect(
            lines.filter { $0.hasPrefix("path_") } == [
                "path_mtu=1480", "path_mtu_confirmed=false", "path_probes=0", "path_answers=0",
            ])
        let bare = EngineStatus(peers: [.init(publicKey: key)])
        #expect(!string(UAPI.serialize(bare)).contains("path_"))
    }

    /// Lines of a path without its first one are passed over.
    @Test func pathLinesWithoutAnMTUAreNoPath() throws {
        let text = "public_key=\(Samples.peerHex[0])\npath_rtt_us=1\nerrno=0\n\n"
        #expect(try EngineStatus(answer: Array(text.utf8)).peers.first?.path == nil)
    }

    @Test func lossIsAShareOfWhatWasSent() throws {
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        typealias Health = EngineStatus.PeerHealth
        #expect(Health(publicKey: key, receivedPackets: 99, lostPackets: 1).lossShare == 0.01)
        #expect(Health(publicKey: key, receivedPackets: 0, lostPackets: 1).lossShare == 1)
        #expect(Health(publicKey: key).lossShare == nil)
        #expect(Health(publicKey: key, receivedPackets: .max, lostPackets: .max).lossShare == 0.5)
    }

    @Test func lineBreaksCannotForgeLines() throws {
        let text = UAPI.serialize(
            EngineStatus(socketFault: "a\nmtu=2", fallbacks: ["first\ncipher=none\r\nmtu=1"]))
        let read = try EngineStatus(answer: text)
        #expect(read.fallbacks == ["first cipher=none mtu=1"])
        #expect(read.socketFault == "a mtu=2")
        #expect(read.cipher == "" && read.mtu == 0)
    }

    @Test(arguments: [
        "", "errno=-71\n\n", "mtu=x\nerrno=0\n\n", "drop_x=-1\nerrno=0\n\n",
        "public_key=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nlost_packets=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nprofile=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nmismatch=wireguard\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nmismatch=x 1\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\nsession_age_sec=-1\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\npath_mtu=x\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\npath_mtu=1\npath_rtt_us=-1\nerrno=0\n\n",
        "public_key=\(Samples.peerHex[0])\npath_mtu=1\npath_loss_ppm=0.5\nerrno=0\n\n",
    ])
    func brokenAnswersAreRefused(_ answer: String) {
        #expect(throws: UAPIError.self) { try EngineStatus(answer: Array(answer.utf8)) }
    }

    @Test func keysOfLaterVersionsArePassedOver() throws {
        let text = "novelty=x\nmtu=1\npublic_key=\(Samples.peerHex[0])\nnovelty=x\nerrno=0\n\n"
        #expect(try EngineStatus(answer: Array(text.utf8)).mtu == 1)
    }
}
