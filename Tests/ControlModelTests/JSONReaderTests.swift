import TestSupport
import Testing

@testable import ControlModel

struct JSONReaderTests {
    @Test(arguments: [
        ("{}", JSONValue.object([])), ("[]", .array([])), ("\"\"", .string("")),
        ("\" !#[]{}~\"", .string(" !#[]{}~")), ("0", .integer(0)), ("10", .integer(10)),
        ("9007199254740991", .integer(9_007_199_254_740_991)), ("true", .flag(true)),
        ("false", .flag(false)), ("[1,true]", .array([.integer(1), .flag(true)])),
        ("{\"a\":1}", .object([.init(name: "a", value: .integer(1))])),
    ])
    func plainTextIsRead(text: String, value: JSONValue) throws {
        #expect(try JSONReader.read([UInt8](text.utf8)) == value)
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "]", "{]", "[}", "\"", "\"a", "{} ", " {}", "{ }", "[1, 2]", "{}{}",
        "1 ", "01", "00", "-0", "-1", "+1", "1.0", "1e3", ".5", "9007199254740992",
        "99999999999999999999999999", "null", "nul", "True", "tru", "truee", "NaN", "{\"a\"}",
        "{\"a\":}", "{\"a\":1,}", "{,}", "[1,]", "[,1]", "{a:1}", "{1:1}", "'a'", "\"\\u0061\"",
        "\"\\/\"", "\"\\\"\"", "\"\t\"", "\"\u{7f}\"", "\"é\"", "\u{feff}{}", "{}\0", "//{}",
    ])
    func anythingElseIsRefused(text: String) {
        #expect(reason { try JSONReader.read([UInt8](text.utf8)) } == .notJSON)
    }

    @Test func aMemberMayAppearOnce() {
        #expect(reason { try read("{\"a\":1,\"A\":2}") } == nil)
        #expect(reason { try read("{\"a\":1,\"a\":1}") } == .duplicateField)
        #expect(reason { try read("[{\"a\":1,\"b\":{},\"a\":2}]") } == .duplicateField)
    }

    @Test func nestingIsBounded() {
        func nested(_ levels: Int) -> String {
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        #expect(reason { try read(nested(TrustLimits.nestingMax)) } == nil)
        #expect(reason { try read(nested(TrustLimits.nestingMax + 1)) } == .nestedTooDeep)
        #expect(reason { try read(nested(1_000_000)) } == .nestedTooDeep)
        let objects = String(repeating: "{\"a\":", count: 1_000_000)
        #expect(reason { try read(objects) } == .nestedTooDeep)
    }

    @Test func stringsAndMembersAreBounded() {
        let text = String(repeating: "x", count: TrustLimits.stringBytesMax)
        #expect(reason { try read("\"\(text)\"") } == nil)
        #expect(reason { try read("\"\(text)x\"") } == .notJSON)
        func members(_ count: Int) -> String {
            "{" + (0..<count).map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        }
        #expect(reason { try read(members(TrustLimits.membersMax)) } == nil)
        #expect(reason { try read(members(TrustLimits.membersMax + 1)) } == .notJSON)
    }

    /// Whatever is read can be written in one way only: there are no two texts of one value.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func whatIsReadIsWrittenTheSame(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let alphabet = [UInt8]("{}[]\",:01a -\\etrufls.".utf8)
        var read = 0
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
            }
            guard let value = try? JSONReader.read(bytes) else { continue }
            read += 1
            #expect([UInt8](Self.text(value).utf8) == bytes, "seed \(seed)")
        }
        #expect(read > 0)
    }

    private func read(_ text: String) throws -> JSONValue {
        try JSONReader.read([UInt8](text.utf8))
    }

    private static func text(_ value: JSONValue) -> String {
        switch value {
        case .object(let members):
            "{" + members.map { "\"\($0.name)\":\(text($0.value))" }.joined(separator: ",") + "}"
        case .array(let values): "[" + values.map(text).joined(separator: ",") + "]"
        case .string(let string): "\"\(string)\""
        case .integer(let number): "\(number)"
        case .flag(let flag): flag ? "true" : "false"
        }
    }
}
