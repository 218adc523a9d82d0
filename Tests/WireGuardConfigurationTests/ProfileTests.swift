import PacketFormats
import Testing
import WireGuardConfiguration

/// `Profile` and `Cipher` in files, and how they travel.
@Suite struct ProfileTests {
    private func file(_ lines: String) throws(WireGuardFileError) -> WireGuardFile {
        try WireGuardFile(
            parsing: "[Interface]\n[Peer]\nPublicKey = \(Samples.peerBase64[0])\n\(lines)\n")
    }

    @Test(arguments: [
        ("", nil), ("Profile = wireguard", .wireguard), ("Profile = branchline", .branchlineAES),
        ("profile=BRANCHLINE", .branchlineAES),
        ("Profile = branchline\nCipher = AES-256-GCM", .branchlineAES),
        ("Profile = branchline\nCipher = ChaCha20-Poly1305", .branchlineChaCha),
        ("Cipher = chacha20-poly1305\nProfile = branchline", .branchlineChaCha),
        ("Profile = wireguard\nProfile = branchline", .branchlineAES),
    ] as [(String, TunnelProfile?)])
    func profilesAreRead(_ lines: String, profile: TunnelProfile?) throws {
        let read = try file(lines)
        #expect(read.peers.map(\.profile) == [profile])
        let again = try WireGuardFile(parsing: read.text)
        #expect(again.peers.map(\.profile) == [profile])
        let settings = read.deviceSettings { _ in Endpoint(address: IPAddress(ipv4: 1), port: 1) }
        #expect(settings.peers.map(\.profile) == [profile])
    }

    @Test(arguments: [
        ("Cipher = AES-256-GCM", 4, "without a Profile"),
        ("Cipher = ChaCha20-Poly1305\nProfile = wireguard", 4, "contradicts"),
        ("Profile = wireguard\nCipher = AES-256-GCM", 5, "contradicts"),
    ])
    func contradictionsAreRefusedWithTheRemedy(_ lines: String, line: Int, word: String) {
        let error = failure { () throws(WireGuardFileError) in _ = try file(lines) }
        #expect(error?.line == line && error?.key == "Cipher")
        #expect(error?.reason.contains(word) == true)
        #expect(error?.accepted == "Profile = branchline in the same [Peer], or no Cipher")
    }

    @Test func unknownWordsNameWhatIsAccepted() {
        let cipher = failure { () throws(WireGuardFileError) in
            _ = try file("Profile = branchline\nCipher = AES-128-GCM")
        }
        #expect(
            cipher?.description
                == "line 5: Cipher is \"AES-128-GCM\"; accepted: AES-256-GCM or "
                + "ChaCha20-Poly1305, the same at both ends")
        let profile = failure { () throws(WireGuardFileError) in
            _ = try file("Profile = branchline-aes256gcm")
        }
        #expect(profile?.key == "Profile" && profile?.accepted.hasPrefix("wireguard, or") == true)
    }

    @Test func oneSectionsProfileIsNotAnothers() throws {
        let read = try file(
            "Profile = branchline\n[Peer]\nPublicKey = \(Samples.peerBase64[1])")
        #expect(read.peers.map(\.profile) == [.branchlineAES, nil])
    }

    @Test func wireguardPeersAreAnsweredAsEver() throws {
        let text = UAPIAnswerTests.wireguardGoAnswer
        var status = try UAPI.parse(answer: Array(text.utf8))
        #expect(status.peers.map(\.profile) == [.wireguard])
        #expect(string(UAPI.serialize(status)) == text)
        status.peers[0].profile = .branchlineChaCha
        let answer = UAPI.serialize(status)
        #expect(string(answer).contains("\nprofile=branchline-chacha20poly1305\n"))
        #expect(try UAPI.parse(answer: answer).peers.map(\.profile) == [.branchlineChaCha])
        #expect(string(WireGuardFile(status).text).contains("Cipher = ChaCha20-Poly1305"))
    }

    @Test func aRequestThatDoesNotSayLeavesTheProfile() throws {
        #expect(try Samples.peer("persistent_keepalive_interval=1").profile == nil)
        let settings = try Samples.settings(
            "public_key=\(Samples.peerHex[0])", "profile=branchline-aes256gcm")
        #expect(settings.peers.map(\.profile) == [.branchlineAES])
        #expect(
            string(UAPI.serialize(settings)).contains("\nprofile=branchline-aes256gcm\n"))
    }
}
