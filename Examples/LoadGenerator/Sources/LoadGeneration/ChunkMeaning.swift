/// What one event of a streamed answer says, by a search for the few members that tell.
enum ChunkMeaning: Equatable {
    /// Some of the answer: text, reasoning or part of a tool call.
    case content
    /// A role, counts, or a reason to end.
    case other
    case end
    case failure

    init(_ data: [UInt8]) {
        if data == Self.done {
            self = .end
        } else if Self.openings.contains(where: { Self.hasValue(after: $0, in: data) }) {
            self = .content
        } else if Self.find(Self.error, in: data) != nil, Self.find(Self.choices, in: data) == nil {
            self = .failure
        } else {
            self = .other
        }
    }

    /// Whether a member is there with a text or a list that is not empty.
    private static func hasValue(after name: [UInt8], in text: [UInt8]) -> Bool {
        guard var place = find(name, in: text) else { return false }
        func skipSpaces() {
            while place < text.count, text[place] == 0x20 { place += 1 }
        }
        skipSpaces()
        guard place < text.count, text[place] == UInt8(ascii: ":") else { return false }
        place += 1
        skipSpaces()
        guard place + 1 < text.count else { return false }
        switch text[place] {
        case UInt8(ascii: "\""): return text[place + 1] != UInt8(ascii: "\"")
        case UInt8(ascii: "["): return text[place + 1] != UInt8(ascii: "]")
        default: return false
        }
    }

    /// - Returns: Where `pattern` ends.
    private static func find(_ pattern: [UInt8], in text: [UInt8]) -> Int? {
        guard text.count >= pattern.count else { return nil }
        for start in 0...(text.count - pattern.count) where text[start] == pattern[0] {
            var length = 1
            while length < pattern.count, text[start + length] == pattern[length] { length += 1 }
            if length == pattern.count { return start + length }
        }
        return nil
    }

    private static let done = Array("[DONE]".utf8)
    private static let openings = [
        "\"content\"", "\"reasoning_content\"", "\"reasoning\"", "\"tool_calls\"", "\"text\"",
    ].map { Array($0.utf8) }
    private static let error = Array("\"error\"".utf8)
    private static let choices = Array("\"choices\"".utf8)
}
