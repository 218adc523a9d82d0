import Testing

@testable import LoadGeneration

@Suite struct EventSplitterTests {
    private func events(_ text: String, pieceBytes: Int) -> [String] {
        var splitter = EventSplitter()
        var found: [String] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            let piece = bytes[start..<min(start + pieceBytes, bytes.count)]
            splitter.take(piece) { found.append(String(decoding: $0, as: UTF8.self)) }
        }
        return found
    }

    @Test(arguments: [1, 2, 3, 7, 1_000])
    func eventsAreFoundWhereverPiecesEnd(pieceBytes: Int) {
        let text = """
            : a comment

            data: {"a":1}

            event: named
            id: 7
            data:two
            data: lines

            data: [DONE]


            """
        #expect(events(text, pieceBytes: pieceBytes) == [#"{"a":1}"#, "two\nlines", "[DONE]"])
    }

    @Test(arguments: ["\n", "\r", "\r\n"], [1, 2, 100])
    func everyLineEndingCounts(ending: String, pieceBytes: Int) {
        let text = ["data: a", "", "data: b", "", ""].joined(separator: ending)
        #expect(events(text, pieceBytes: pieceBytes) == ["a", "b"])
    }

    @Test func whatIsNoDataIsNoEvent() {
        #expect(events("event: x\n\nretry: 5\n\ndatabase: y\n\n: data: z\n\n", pieceBytes: 5) == [])
    }

    @Test func emptyDataIsAnEventAndOneSpaceIsDropped() {
        #expect(events("data\n\ndata:\n\ndata:  x\n\n", pieceBytes: 4) == ["", "", " x"])
    }

    @Test func eventWithoutItsEndIsNone() {
        #expect(events("data: a\n\ndata: b\n", pieceBytes: 3) == ["a"])
    }

    @Test func endlessLinesTakeBoundedMemory() {
        var splitter = EventSplitter()
        let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
        var sizes: [Int] = []
        splitter.take(Array("data:".utf8)) { sizes.append($0.count) }
        for _ in 0..<3 { splitter.take(piece) { sizes.append($0.count) } }
        splitter.take(Array("\n\n".utf8)) { sizes.append($0.count) }
        #expect(splitter.hasOverflowed)
        #expect(sizes == [EventSplitter.lineBytesMax - 5])
    }
}

@Suite struct ChunkMeaningTests {
    @Test(arguments: [
        (#"{"choices":[{"delta":{"content":"word"}}]}"#, ChunkMeaning.content),
        (#"{"choices":[{"delta":{"content" : "word"}}]}"#, .content),
        (#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, .other),
        (#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#, .content),
        (#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}]}"#, .content),
        (#"{"choices":[{"delta":{"tool_calls":[]}}]}"#, .other),
        (#"{"choices":[{"text":" word"}]}"#, .content),
        (#"{"choices":[],"usage":{"completion_tokens":3}}"#, .other),
        (#"{"error":{"message":"no"}}"#, .failure), ("[DONE]", .end), ("", .other),
        (#"{"content":"#, .other), (#"{"content""#, .other), (#"{"content":""#, .other),
    ])
    func eventsAreTold(data: String, meaning: ChunkMeaning) {
        #expect(ChunkMeaning(Array(data.utf8)) == meaning)
    }
}
