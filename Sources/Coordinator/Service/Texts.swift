import ControlModel
import Cryptography
import PacketFormats
import PacketMemory

/// Checks of what callers write, and texts that the coordinator makes.
enum Texts {
    /// A label for people.
    static func label(
        _ text: String, _ what: String, bytesMax: Int = ServiceLimits.labelBytesMax
    ) throws -> String {
        guard (1...bytesMax).contains(text.utf8.count), isPlain(text) else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "the \(what) must be 1 to \(bytesMax) bytes without control characters")
        }
        return text
    }

    static func optionalLabel(
        _ text: String?, _ what: String, bytesMax: Int = ServiceLimits.labelBytesMax
    ) throws -> String? {
        try text.map { try label($0, what, bytesMax: bytesMax) }
    }

    static func nodeName(_ text: String) throws -> String {
        guard NodeName.isValid(text) else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "a node's name is 1 to 63 letters, digits, hyphens and points")
        }
        return text
    }

    static func name(_ text: String, _ what: String) throws -> Name {
        guard let name = Name(text) else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "a \(what)'s name is 1 to 63 of a-z, 0-9 and inner hyphens")
        }
        return name
    }

    /// `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    static func endpoint(_ text: String) throws -> String {
        let problem = CoordinatorAPI.Problem.invalidRequest(
            "an endpoint is host:port, such as gw.example:51820 or [2001:db8::1]:51820")
        guard text.utf8.count <= ServiceLimits.endpointBytesMax,
            let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...]), port > 0,
            text[text.index(after: colon)...] == "\(port)"
        else { throw problem }
        let host = text[..<colon]
        if host.first == "[", host.last == "]" {
            guard let address = IPAddress(String(host.dropFirst().dropLast())), !address.isIPv4
            else { throw problem }
            return text
        }
        let isHost = host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard (1...253).contains(host.utf8.count), isHost, host.first != "-", host.first != "."
        else { throw problem }
        return text
    }

    /// `prefix` and 43 random characters.
    static func secret(_ prefix: String) -> String { prefix + random(32) }

    /// 22 random characters.
    static func identifier() -> String { random(16) }

    static func join(_ texts: some Sequence<String>) -> String {
        texts.sorted().joined(separator: " ")
    }

    static func split(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

    /// Whether two hashes are equal, in a time that does not tell where they differ.
    static func isEqual(_ first: [UInt8], _ second: [UInt8]) -> Bool {
        guard first.count == second.count else { return false }
        return zip(first, second).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private static func isPlain(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { !$0.isControl }
    }

    private static func random(_ count: Int) -> String {
        let arena = ByteArena(count: count)
        SecureRandom.fill(arena.whole)
        return Base64URL.encode(arena.whole)
    }
}
