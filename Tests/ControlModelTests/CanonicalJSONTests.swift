import Cryptography
import Foundation
import TestSupport
import Testing

@testable import ControlModel

/// Of a statement there is one text; every other spelling of it is refused.
struct CanonicalJSONTests {
    private static let rotation =
        #"{"exp":1800000900,"nbf":1800000000,"publicKey":"\#(World.publicKey(8).base64)","#
        + #""serial":1,"tenant":"acme","turn":1,"v":1}"#

    private func read(_ text: String, _ kind: StatementKind = .rotation) -> Refusal.Reason? {
        read([UInt8](text.utf8), kind)
    }

    private func read(_ bytes: [UInt8], _ kind: StatementKind = .rotation) -> Refusal.Reason? {
        reason { try Statement(kind: kind, payload: bytes) }
    }

    @Test func theCanonicalTextIsRead() throws {
        #expect(read(Self.rotation) == nil)
        let statement = try Statement(kind: .rotation, payload: [UInt8](Self.rotation.utf8))
        let envelope = try Envelope(parsing: try statement.signed(by: World().node))
        #expect(String(decoding: envelope.payload, as: UTF8.self) == Self.rotation)
    }

    /// JSON of the same value, as far as Foundation is concerned.
    @Test(arguments: [
        ("{", "{ "), ("}", " }"), ("}", "}\n"), ("{", " {"), ("{", "\u{feff}{"), (",", ", "),
        (",", "\t,"), (":1,", ": 1,"), (#""v""#, #""\u0076""#), ("acme", #"\u0061cme"#),
        (#""turn":1"#, #""turn":1.0"#), (#""turn":1"#, #""turn":1e0"#),
        (#""turn":1"#, #""turn":10e-1"#), (#""turn":1,"v":1"#, #""v":1,"turn":1"#),
        (#""turn":1"#, #""turn":1,"turn":1"#), (#""turn":1"#, #""turn":1,"turn":2"#),
        (#""turn":1"#, #""turn":1,"\u0074urn":2"#), (#""exp""#, #""exp":1800000900,"exp""#),
        (#""v":1"#, #""v":1,"v":2"#), (#""v":1"#, #""v":1,"#),
    ])
    func everyOtherSpellingIsRefused(from: String, to: String) {
        let text = Self.rotation.replacing(from, with: to, maxReplacements: 1)
        #expect(text != Self.rotation)
        let found = read(text)
        #expect(found == .notCanonical || found == .notJSON, "\(text)")
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "]", "{]", "\"", "1", "null", "true", "[]", "\"\"", "{}{}", "//{}",
        "{a:1}", "{'v':1}", #"{"v"}"#, #"{"v":}"#, #"{"v":01}"#, #"{"v":+1}"#,
        #"{"v":.5}"#, #"{"v":NaN}"#, #"{"v":tru}"#, "{}\0",
        rotation + rotation, rotation + "}", rotation + "\0", String(rotation.dropLast()),
    ])
    func whatIsNoObjectIsRefused(text: String) {
        #expect(read(text) == .notJSON)
    }

    @Test func numbersAreWholeAndBounded() {
        for number in ["0", "-1", "-0", "1.5", "9007199254740992", "99999999999999999999999999"] {
            let text = Self.rotation.replacing(#""turn":1"#, with: #""turn":"# + number)
            let found = read(text)
            #expect(found == .invalidField || found == .notJSON, "\(number)")
        }
        let most = Self.rotation.replacing(#""turn":1"#, with: #""turn":9007199254740991"#)
        #expect(read(most) == nil)
    }

    /// Foundation finds out which encoding a text has; statements have one.
    @Test(arguments: [
        String.Encoding.utf16, .utf16LittleEndian, .utf16BigEndian, .utf32, .utf32LittleEndian,
    ])
    func otherEncodingsAreRefused(encoding: String.Encoding) throws {
        let data = try #require(Self.rotation.data(using: encoding))
        let found = read([UInt8](data))
        #expect(found == .notCanonical || found == .notJSON)
    }

    @Test func bytesThatAreNoTextAreRefused() {
        for byte: UInt8 in [0x80, 0xc0, 0xed, 0xff] {
            let bytes = Array(Self.rotation.utf8)
            for offset in bytes.indices {
                var changed = bytes
                changed[offset] = byte
                #expect(read(changed) != nil, "\(byte) at \(offset)")
            }
        }
    }

    /// To Swift a Kelvin sign equals a K: in names of fields and in values.
    @Test func textsThatOnlyCompareEqualAreRefused() throws {
        #expect("\u{212a}" == "K")
        let name = Self.rotation.replacing("publicKey", with: "public\u{212a}ey")
        #expect(name.utf8.count != Self.rotation.utf8.count)
        #expect(read(name) != nil)
        // Ends in a combining mark, or is made of one letter and one mark.
        for text in ["acme\u{301}", "e\u{301}", "\u{e9}"] {
            #expect(read(Self.rotation.replacing("acme", with: text)) == .invalidField)
        }
    }

    @Test func nestingIsBounded() {
        let bracket = String(repeating: "[", count: 1_000_000)
        let brackets = bracket + String(repeating: "]", count: 1_000_000)
        let brace = String(repeating: #"{"v":"#, count: 1_000_000)
        let braces = brace + "1" + String(repeating: "}", count: 1_000_000)
        for text in [bracket, brackets, brace, braces] {
            #expect(read(text) == .notJSON)
            #expect(read(Self.rotation.dropLast() + #","z":"# + text + "}") == .notJSON)
            let header = #"{"alg":"# + text + "}"
            #expect(reason { try CanonicalJSON.names(in: [UInt8](header.utf8)) } == .notJSON)
        }
        // The object and 511 arrays in it.
        for (levels, expected): (Int, Refusal.Reason) in [(511, .unknownField), (512, .notJSON)] {
            let value = String(repeating: "[", count: levels)
                + String(repeating: "]", count: levels)
            #expect(read(Self.rotation.dropLast() + #","z":"# + value + "}") == expected)
        }
    }

    @Test func namesOfUnknownFieldsDoNotReachLogsAsTheyAre() {
        let name = String(repeating: "x", count: 60) + "\u{1b}[31m\nÉ" + String(
            repeating: "y", count: 10_000)
        let escaped = name.replacing("\u{1b}", with: #"\u001b"#).replacing("\n", with: #"\n"#)
        let text = Self.rotation.dropLast() + ",\"\(escaped)\":1}"
        #expect(throws: Refusal(.unknownField, String(repeating: "x", count: 60) + "[31m")) {
            try Statement(kind: .rotation, payload: [UInt8](text.utf8))
        }
    }

    /// Edits of a valid text: whatever is read at all is written in the same bytes again.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func whatIsReadIsWrittenTheSame(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let alphabet = [UInt8]("{}[]\",:019a -\\etrufls.".utf8), world = World()
        var read = 0
        for _ in 0..<2000 {
            var bytes = Array(Self.rotation.utf8)
            for _ in 0..<Int.random(in: 1...2, using: &generator) {
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[at] = alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
            }
            guard let statement = try? Statement(kind: .rotation, payload: bytes) else { continue }
            read += 1
            let envelope = try Envelope(parsing: try statement.signed(by: world.node))
            #expect(envelope.payload == bytes, "seed \(seed)")
        }
        #expect(read > 0)
    }
}
