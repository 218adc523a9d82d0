import Testing
import WireGuardConfiguration

/// Files that are refused, each with the line and what is accepted.
@Suite struct WireGuardFileErrorTests {
    @Test(arguments: [
        ("ListenPort = 0", true), ("ListenPort = 65535", true), ("ListenPort = 65536", false),
        ("ListenPort = -1", false), ("ListenPort = http", false), ("ListenPort =", false),
        ("MTU = 67", false), ("MTU = 68", true), ("MTU = 65535", true), ("MTU = 65536", false),
        ("FwMark = off", true), ("FwMark = 4294967295", true), ("FwMark = 4294967296", false),
        ("FwMark = 0xffffffff", true), ("FwMark = 0x100000000", false), ("FwMark = 0x", false),
        ("FwMark = x", false), ("Table = 0", false), ("Table = 4294967296", false),
        ("Table = wrong", false), ("SaveConfig = true", true), ("SaveConfig = yes", false),
        ("Address = 10.0.0.1/32", true), ("Address = 10.0.0.1/33", false),
        ("Address = fd00::1/128", true), ("Address = fd00::1/129", false), ("Address =", false),
        ("Address = 10.0.0.1,", false), ("Address = host", false), ("DNS =", false),
        ("DNS = 10.0.0.1,,", false), ("DNS = a b", false), ("PostUp =", false),
        ("PrivateKey = \(Samples.privateBase64)", true),
        ("PrivateKey = \(Samples.privateBase64.dropLast())", false),
        ("PrivateKey = \(Samples.privateBase64)=", false),
        ("PrivateKey = \(Samples.privateHex)", false), ("PrivateKey =", false),
        ("PublicKey = \(Samples.peerBase64[0])", false), ("Nonsense = 1", false),
        ("\(Samples.privateBase64)", false), ("ListenPort = \(Samples.privateBase64)", false),
        ("ListenPort", false), ("[Nonsense]", false), ("= 1", false),
    ])
    func interfaceLines(_ line: String, isAccepted: Bool) {
        check("[Interface]\n\n\(line)\n", line: 3, isAccepted)
    }

    @Test(arguments: [
        ("PersistentKeepalive = off", true), ("PersistentKeepalive = 0", true),
        ("PersistentKeepalive = 65535", true), ("PersistentKeepalive = 65536", false),
        ("PersistentKeepalive = on", false), ("PersistentKeepalive =", false),
        ("AllowedIPs = 0.0.0.0/0, ::/0", true), ("AllowedIPs = 10.0.0.1", true),
        ("AllowedIPs = 10.0.0.0/32", true), ("AllowedIPs = 10.0.0.0/33", false),
        ("AllowedIPs = ::/129", false), ("AllowedIPs = 10.0.0.0/8,", false),
        ("AllowedIPs = -10.0.0.0/8", false), ("AllowedIPs = host/8", false),
        ("Endpoint = example.org:65535", true), ("Endpoint = example.org:65536", false),
        ("Endpoint = example.org", false), ("Endpoint =", false),
        ("PresharedKey = \(Samples.presharedBase64)", true), ("PresharedKey = x", false),
        ("PublicKey = \(Samples.peerBase64[1])", true), ("PublicKey = x", false),
        ("Address = 10.0.0.1/8", false), ("ListenPort = 1", false),
    ])
    func peerLines(_ line: String, isAccepted: Bool) {
        check(
            "[Interface]\n[Peer]\nPublicKey = \(Samples.peerBase64[0])\n\(line)\n", line: 4,
            isAccepted)
    }

    private func check(_ text: String, line: Int, _ isAccepted: Bool) {
        let error = failure { () throws(WireGuardFileError) in
            _ = try WireGuardFile(parsing: text)
        }
        #expect((error == nil) == isAccepted)
        guard let error else { return }
        #expect(error.line == line)
        #expect(!error.reason.isEmpty && !error.accepted.isEmpty)
        #expect(error.description.hasPrefix("line \(line): "))
        for secret in [Samples.privateBase64, Samples.privateHex] {
            #expect(!error.description.contains(secret.prefix(10)))
        }
    }

    @Test func theReasonNamesTheKeyTheValueAndTheRemedy() {
        let error = failure { () throws(WireGuardFileError) in
            _ = try WireGuardFile(parsing: "[Interface]\nlistenport = 70000\n")
        }
        #expect(
            error?.description
                == "line 2: ListenPort is \"70000\"; accepted: a port from 0 (any) to 65535")
    }

    @Test(arguments: [
        ("[Interface]\n#\n\(ownKey)\n[Peer]\n\(otherPeer)\n[Peer]\n\(ownPeer)\n", 6),
        ("[Peer]\n\(ownPeer)\n[Interface]\n\(ownKey)\n", 1),
    ])
    func aPeerIsAnotherThanTheInterface(_ text: String, line: Int) {
        let error = failure { () throws(WireGuardFileError) in
            _ = try WireGuardFile(parsing: text)
        }
        #expect(error?.line == line)
        #expect(error?.reason.hasPrefix("has this interface's own public key HIgo9x") == true)
    }

    @Test func aPeerWithTheInterfacesFormerKeyIsAccepted() {
        let text = "[Interface]\n\(Self.ownKey)\n\(Self.laterKey)\n[Peer]\n\(Self.ownPeer)\n"
        #expect(throws: Never.self) { try WireGuardFile(parsing: text) }
    }

    private static let ownKey = "PrivateKey = \(Samples.privateBase64)"
    private static let ownPeer = "PublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
    private static let otherPeer = "PublicKey = \(Samples.peerBase64[0])"
    private static let laterKey = "PrivateKey = \(Samples.peerBase64[0])"

    @Test func aPeerNeedsItsKey() {
        let error = failure { () throws(WireGuardFileError) in
            _ = try WireGuardFile(parsing: "[Interface]\n[Peer]\nAllowedIPs = ::/0\n[Peer]\n")
        }
        #expect(error?.line == 2)
        #expect(error?.reason == "has no PublicKey")
    }

    @Test func aFileNeedsItsInterface() {
        for text in ["", "\n\n", "# nothing", "[Peer]\nPublicKey = \(Samples.peerBase64[0])"] {
            #expect(throws: WireGuardFileError.self) { try WireGuardFile(parsing: text) }
        }
    }

    @Test func settingsNeedASection() {
        let error = failure { () throws(WireGuardFileError) in
            _ = try WireGuardFile(parsing: "MTU = 1400\n[Interface]\n")
        }
        #expect(error?.line == 1)
    }

    @Test func bytesThatAreNotTextAreRefused() {
        for bytes: [UInt8] in [[0xFF], [0xC3], [0], [0x4D, 0]] {
            let text = Array("[Interface]\n".utf8) + bytes
            let error = failure { () throws(WireGuardFileError) in
                _ = try WireGuardFile(parsing: text)
            }
            #expect(error?.line == 2)
        }
        #expect(throws: Never.self) {
            try WireGuardFile(parsing: Array("[Interface] # ".utf8) + [0xFF, 0])
        }
    }

    @Test func oversizedInputIsRefused() {
        let line = String(repeating: "#", count: ConfigurationLimits.lineBytesMax)
        #expect(throws: Never.self) { try WireGuardFile(parsing: "[Interface]\n\(line)\n") }
        #expect(throws: WireGuardFileError.self) {
            try WireGuardFile(parsing: "[Interface]\n\(line)#\n")
        }
        #expect(throws: WireGuardFileError.self) {
            try WireGuardFile(
                parsing: [UInt8](repeating: 10, count: ConfigurationLimits.textBytesMax + 1))
        }
    }

    @Test func everyPrefixOfAFileIsReadOrRefused() {
        let bytes = Array(WireGuardFileTests.everything.utf8)
        for count in 0...bytes.count {
            _ = try? WireGuardFile(parsing: Array(bytes.prefix(count)))
        }
    }
}
