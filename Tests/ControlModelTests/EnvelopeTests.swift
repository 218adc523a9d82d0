import Cryptography
import TestSupport
import Testing

@testable import ControlModel

struct EnvelopeTests {
    private let world = World()

    private var kid: String { world.root.verifyingKey.base64URL }

    /// An envelope over `payload` with any header, properly signed by the root.
    private func envelope(header: String, payload: String = "{}") -> String {
        let input = "\(base64(header)).\(base64(payload))"
        return "\(input).\(Base64URL.encode(world.root.sign([UInt8](input.utf8)).bytes))"
    }

    private func header(_ changes: String...) -> String {
        let members = [#""alg":"EdDSA""#, "\"kid\":\"\(kid)\"", #""typ":"branchline-admin""#]
        return "{" + (members + changes).joined(separator: ",") + "}"
    }

    private func base64(_ text: String) -> String { Base64URL.encode([UInt8](text.utf8)) }

    @Test func theExactHeaderIsRead() throws {
        let envelope = try Envelope(parsing: envelope(header: header()))
        #expect(envelope.kind == .admin)
        #expect(envelope.signer == world.root.verifyingKey)
        #expect(envelope.payload == [UInt8]("{}".utf8))
        #expect(envelope.isSigned)
    }

    @Test func theHeaderHasOneSpelling() throws {
        let alg = #""alg":"EdDSA""#, id = "\"kid\":\"\(kid)\"", typ = #""typ":"branchline-admin""#
        #expect(reason { try Envelope(parsing: envelope(header: "{\(alg),\(id),\(typ)}")) } == nil)
        for text in [
            "{\(alg),\(typ),\(id)}", "{\(id),\(alg),\(typ)}", "{\(alg), \(id),\(typ)}",
            "{\(alg),\(id),\(typ)} ", #"{"alg":"EdDS\u0041",\#(id),\#(typ)}"#,
        ] {
            #expect(reason { try Envelope(parsing: envelope(header: text)) } == .notCanonical)
        }
    }

    @Test(arguments: [
        "none", "None", "HS256", "HS512", "RS256", "ES256", "Ed25519", "Ed448", "eddsa", "EDDSA",
        "EdDSA ", "",
    ])
    func anotherAlgorithmIsRefused(name: String) {
        let text = "{\"alg\":\"\(name)\",\"kid\":\"\(kid)\",\"typ\":\"branchline-admin\"}"
        #expect(reason { try Envelope(parsing: envelope(header: text)) } == .algorithmNotAllowed)
    }

    /// No signature at all, as libraries once took it.
    @Test func anUnsignedTextIsRefused() {
        let none = base64(#"{"alg":"none"}"#)
        #expect(reason { try Envelope(parsing: "\(none).\(base64("{}")).") } == .notCompact)
        let unsigned = "\(base64(header())).\(base64("{}"))"
        #expect(reason { try Envelope(parsing: unsigned) } == .notCompact)
        #expect(reason { try Envelope(parsing: unsigned + ".") } == .notCompact)
        #expect(reason { try Envelope(parsing: unsigned + ".AAAA") } == .signatureInvalid)
    }

    @Test(arguments: [
        #""crit":["b64"]"#, #""b64":false"#, #""jku":"https://evil.example/""#,
        #""jwk":{"kty":"OKP"}"#, #""x5u":"https://evil.example/""#, #""x5c":["AA"]"#,
        #""x5t":"AA""#, #""cty":"JWT""#, #""zip":"DEF""#, #""epk":"""#, #""nonce":"1""#, #""":1"#,
    ])
    func anyOtherParameterIsRefused(parameter: String) {
        let text = envelope(header: header(parameter))
        #expect(reason { try Envelope(parsing: text) } == .headerNotAllowed)
    }

    /// Foundation takes the first; other readers take the last.
    @Test(arguments: [
        #""alg":"none""#, #""alg":"EdDSA""#, #""typ":"branchline-grant""#, #""kid":"""#,
    ])
    func aRepeatedParameterIsRefused(parameter: String) {
        let text = envelope(header: header(parameter))
        #expect(reason { try Envelope(parsing: text) } == .notCanonical)
    }

    @Test func eachParameterIsNeeded() {
        for missing in 0..<3 {
            var members = [
                #""alg":"EdDSA""#, "\"kid\":\"\(kid)\"", #""typ":"branchline-admin""#,
            ]
            members.remove(at: missing)
            let text = envelope(header: "{" + members.joined(separator: ",") + "}")
            #expect(reason { try Envelope(parsing: text) } == .missingField)
        }
        // RFC 8037, appendix A.4: a right signature, but nothing says of what kind or by whom.
        let example = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
            + ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr"
            + "_MuM0KAg"
        #expect(reason { try Envelope(parsing: example) } == .missingField)
    }

    @Test func otherTypesAndKeysAreRefused() {
        for type in ["JWT", "branchline", "branchline-Admin", "application/branchline-admin", ""] {
            let text = "{\"alg\":\"EdDSA\",\"kid\":\"\(kid)\",\"typ\":\"\(type)\"}"
            #expect(reason { try Envelope(parsing: envelope(header: text)) } == .wrongType)
        }
        for key in ["", "x", kid + "A", kid + "=", String(kid.dropLast())] {
            let text = "{\"alg\":\"EdDSA\",\"kid\":\"\(key)\",\"typ\":\"branchline-admin\"}"
            #expect(reason { try Envelope(parsing: envelope(header: text)) } == .invalidField)
        }
        for text in ["[]", "1", "\"EdDSA\"", "{\"alg\":\"EdDSA\"", "null"] {
            #expect(reason { try Envelope(parsing: envelope(header: text)) } == .notJSON)
        }
    }

    @Test func theCompactFormIsExact() throws {
        let good = envelope(header: header())
        let parts = good.split(separator: ".").map(String.init)
        #expect(reason { try Envelope(parsing: good) } == nil)
        for text in [
            "", ".", "..", "...", good + ".", "." + good, good + "." + parts[0], parts[0],
            "\(parts[0])..\(parts[2])",
        ] {
            #expect(reason { try Envelope(parsing: text) } == .notCompact, "\(text)")
        }
        for text in [
            good + "=", good + "\n", good + " ", " " + good, "\(parts[0])=.\(parts[1]).\(parts[2])",
            good.replacing(".", with: ".+", maxReplacements: 1), good + "\0", good + "é",
        ] {
            #expect(reason { try Envelope(parsing: text) } == .notBase64URL, "\(text)")
        }
    }

    /// The last character of 64 bytes carries four bits that no byte has.
    @Test func aSecondSpellingOfTheSignatureIsRefused() throws {
        let good = envelope(header: header())
        let last = try #require(good.last)
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        let index = try #require(alphabet.firstIndex(of: last))
        for other in 1..<16 {
            let spelling = alphabet[index & ~15 | (index ^ other) & 15]
            let text = String(good.dropLast()) + String(spelling)
            #expect(reason { try Envelope(parsing: text) } == .notBase64URL)
        }
    }

    @Test func sizesAreBounded() throws {
        func text(bytes count: Int, kind: String) -> String {
            let header = "{\"alg\":\"EdDSA\",\"kid\":\"\(kid)\",\"typ\":\"\(kind)\"}"
            let rest = base64(header).utf8.count + 2 + 86
            return "\(base64(header)).\(String(repeating: "A", count: count - rest))."
                + String(repeating: "A", count: 86)
        }
        // A length that base64 can have, at or right below the limit.
        func fitting(_ limit: Int, _ kind: String) -> Int {
            (0..<4).map { limit - $0 }.first { count in
                reason { try Envelope(parsing: text(bytes: count, kind: kind)) } == nil
            } ?? 0
        }
        let small = TrustLimits.statementBytesMax, large = TrustLimits.revocationListBytesMax
        #expect(fitting(small, "branchline-grant") > small - 4)
        #expect(reason {
            try Envelope(parsing: text(bytes: small + 1, kind: "branchline-grant"))
        } == .tooLarge)
        #expect(fitting(large, "branchline-revocations") > large - 4)
        #expect(reason {
            try Envelope(parsing: text(bytes: large + 1, kind: "branchline-revocations"))
        } == .tooLarge)
        let long = String(repeating: "A", count: TrustLimits.headerBytesMax + 1)
        #expect(reason { try Envelope(parsing: long + ".AA.AA") } == .tooLarge)
        let dots = String(repeating: ".", count: 1_000_000)
        #expect(reason { try Envelope(parsing: dots) } == .notCompact)
    }
}
