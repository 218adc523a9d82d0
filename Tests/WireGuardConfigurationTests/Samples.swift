import Cryptography
import PacketFormats
import WireGuardConfiguration

/// Keys from the examples of wg(8) and https://www.wireguard.com/xplatform/: public knowledge.
enum Samples {
    static let privateBase64 = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    static let privateHex = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
    static let presharedHex = "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"
    static let presharedBase64 = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="
    static let peerHex = [
        "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33",
        "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376",
        "662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58",
    ]
    static let peerBase64 = [
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
        "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=",
    ]
    static let zeroHex = String(repeating: "0", count: 64)
    static let zeroBase64 = String(repeating: "A", count: 43) + "="

    static func settings(_ lines: String...) throws -> DeviceSettings {
        let request = try UAPI.parse(request: "set=1\n" + lines.joined(separator: "\n") + "\n\n")
        guard case .set(let settings) = request else { throw Unexpected() }
        return settings
    }

    /// One peer's settings, from the lines after its key.
    static func peer(_ lines: String...) throws -> PeerSettings {
        let all = ["set=1", "public_key=\(peerHex[0])"] + lines
        guard case .set(let settings) = try UAPI.parse(request: all.joined(separator: "\n")),
            let peer = settings.peers.first
        else { throw Unexpected() }
        return peer
    }

    struct Unexpected: Error {}
}

/// The error of `body`, or `nil` if it throws none.
func failure<Failure: Error>(of body: () throws(Failure) -> Void) -> Failure? {
    do {
        try body()
        return nil
    } catch {
        return error
    }
}

func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// The text of a key.
func string(_ append: ((inout [UInt8]) -> Void)?) -> String? {
    var text: [UInt8] = []
    append?(&text)
    return append == nil ? nil : string(text)
}
