import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// The examples of RFC 7541, appendix C, and what an attacker would write instead.
@Suite struct HPACKTests {
    /// A decoder with its memory.
    struct Reader: ~Copyable {
        let tables = ProtocolTables()
        let scratch = ByteArena(count: Scratch.byteCount)
        let entries = ByteArena(count: HPACKDynamicTable.byteCount)
        var decoder = HPACKDecoder()

        deinit {}

        /// The fields of a block; `nil` where it is wrong.
        mutating func read(_ bytes: [UInt8]) -> [(HTTPField, UInt64?)]? {
            var fields: [(HTTPField, UInt64?)] = []
            decoder.beginBlock()
            for byte in bytes {
                let step = decoder.read(
                    byte, scratch: scratch.whole, entries: entries.whole, tables: tables)
                switch step {
                case .more: break
                case .field(let field, let value): fields.append((field, value))
                case .failed, .forgotten: return nil
                }
            }
            return decoder.isBetweenFields ? fields : nil
        }

        /// The literal that was read last.
        func text(_ count: Int) -> String {
            String(decoding: Scratch.value(scratch.whole, count: count).bytes, as: UTF8.self)
        }
    }

    static let get = UInt64(RequestMethod.get.rawValue)

    @Test func literalsOfAppendixC2() {
        var reader = Reader()
        // C.2.1: custom-key: custom-header, indexed.
        let first = reader.read(
            bytes(hex: "400a637573746f6d2d6b65790d637573746f6d2d686561646572"))
        #expect(first?.map(\.0) == [.other])
        #expect(reader.text(13) == "custom-header")
        #expect(reader.decoder.table.size == 55)
        // C.2.2: :path /sample/path, not indexed.
        let second = reader.read(bytes(hex: "040c2f73616d706c652f70617468"))
        #expect(second?.map(\.0) == [.path])
        #expect(reader.text(12) == "/sample/path")
        // C.2.3: password: secret, never indexed.
        let third = reader.read(bytes(hex: "100870617373776f726406736563726574"))
        #expect(third?.map(\.0) == [.other])
        // C.2.4: :method GET, indexed field.
        let fourth = reader.read(bytes(hex: "82"))
        #expect(fourth?.map(\.0) == [.method])
        #expect(fourth?.first?.1 == Self.get)
        #expect(reader.decoder.table.count == 1)
    }

    /// C.3 and C.4 are the same requests without and with Huffman coding.
    @Test(arguments: [
        [
            "828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ])
    func requestsOfAppendicesC3AndC4(blocks: [String]) {
        var reader = Reader()
        let first = reader.read(bytes(hex: blocks[0]))
        #expect(first?.map(\.0) == [.method, .other, .path, .other])
        #expect(first?.first?.1 == Self.get)
        #expect(reader.text(15) == "www.example.com")
        #expect(reader.decoder.table.size == 57)
        let second = reader.read(bytes(hex: blocks[1]))
        #expect(second?.count == 5)
        #expect(reader.text(8) == "no-cache")
        #expect(reader.decoder.table.size == 110)
        let third = reader.read(bytes(hex: blocks[2]))
        #expect(third?.map(\.0) == [.method, .other, .path, .other, .other])
        #expect(reader.text(12) == "custom-value")
        #expect(reader.decoder.table.size == 164)
        #expect(reader.decoder.table.count == 3)
    }

    /// C.5 and C.6 are the same responses, with a table of 256 bytes that evicts.
    @Test(arguments: [
        [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a3231"
                + "20474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a697077"
                + "38666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167"
                + "653d333630303b2076657273696f6e3d31",
        ],
        [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad17"
                + "1863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6"
                + "c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
    ])
    func responsesOfAppendicesC5AndC6(blocks: [String]) {
        var reader = Reader()
        // A size update to 256 comes first, as the example's setting would have it.
        let first = reader.read(bytes(hex: "3fe101" + blocks[0]))
        #expect(first?.map(\.0) == [.status, .other, .other, .other])
        #expect(first?.first?.1 == 302)
        #expect(reader.text(23) == "https://www.example.com")
        #expect(reader.decoder.table.size == 222)
        let second = reader.read(bytes(hex: blocks[1]))
        #expect(second?.first?.1 == 307)
        #expect(second?.count == 4)
        #expect(reader.decoder.table.size == 222)
        let third = reader.read(bytes(hex: blocks[2]))
        #expect(third?.count == 6)
        #expect(third?.first?.1 == 200)
        #expect(reader.text(56) == "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
        #expect(reader.decoder.table.size == 215)
        #expect(reader.decoder.table.count == 3)
    }

    @Test func indexedFieldsMeanWhatTheirLiteralsMeant() {
        var reader = Reader()
        let fields = [("content-type", "text/event-stream"), ("content-length", "1234")]
        let literals = reader.read(HTTP2Writer.block(fields, indexing: true))
        let indexed = reader.read([0xBF, 0xBE])
        #expect(literals?.map(\.1) == indexed?.map(\.1))
        #expect(indexed?.map(\.0) == [.contentType, .contentLength])
        #expect(indexed?.last?.1 == 1234)
        // A literal with a name from the dynamic table: content-length is the newest.
        let named = reader.read([0x0F, 0x2F, 0x02, 0x34, 0x32])
        #expect(named?.first?.0 == .contentLength)
        #expect(named?.first?.1 == 42)
    }

    @Test(arguments: [
        "80",  // Index 0.
        "be",  // An empty dynamic table has no entry 62.
        "ffffffffff7f",  // A number that overflows.
        "00ff",  // Ends within a length.
        "0001",  // Ends within a name.
        "000000",  // A name without characters.
        "3fe21f",  // A table of 4,097 bytes, one more than allowed.
        "8220",  // A size update behind a field.
        "0481ff",  // Eight bits of padding.
        "048100",  // Padding of zeros.
        "0484ffffffff",  // EOS within a string.
    ])
    func wrongBlocksAreRefused(hex: String) {
        var reader = Reader()
        let fields = reader.read(bytes(hex: hex))
        #expect(fields == nil)
    }

    @Test func theLargestAllowedTableIsAccepted() {
        var reader = Reader()
        let fields = reader.read(bytes(hex: "3fe11f"))
        #expect(fields?.count == 0)
        reader.decoder.sizeLimit = 65_536
        let more = reader.read(bytes(hex: "3fe1ff03"))
        #expect(more?.count == 0)
        #expect(reader.decoder.table.sizeMax == 65_536)
    }

    /// An entry larger than the table empties it (RFC 7541, section 4.4).
    @Test func anEntryLargerThanTheTableEmptiesIt() {
        var reader = Reader()
        _ = reader.read(HTTP2Writer.block([("a", "b")], indexing: true))
        let value = String(repeating: "x", count: 5000)
        let fields = reader.read(HTTP2Writer.block([("a", value)], indexing: true))
        #expect(fields?.count == 1)
        #expect(reader.decoder.table.count == 0)
        #expect(reader.decoder.table.size == 0)
    }

    /// A table larger than the memory forgets its oldest entries, and says so.
    @Test func whatIsForgottenIsUnknownNotWrong() {
        var reader = Reader()
        reader.decoder.sizeLimit = 65_536
        _ = reader.read(bytes(hex: "3fe1ff03"))
        let oldest = reader.read(HTTP2Writer.block([(":status", "200")], indexing: true))
        #expect(oldest?.first?.1 == 200)
        for _ in 0..<127 { _ = reader.read(HTTP2Writer.block([("a", "b")], indexing: true)) }
        // Index 62 + 127: the oldest is still there.
        let kept = reader.read([0xFF, 0x3E])
        #expect(kept?.first?.1 == 200)
        _ = reader.read(HTTP2Writer.block([("a", "b")], indexing: true))
        let forgotten = reader.read([0xFF, 0x3F])
        #expect(forgotten?.map(\.0) == [.other])
        #expect(reader.decoder.table.hasForgotten)
    }

    /// Lengths and evictions against a plain model of the table.
    @Test(arguments: 1...8)
    func theTableEqualsItsModel(seed: Int) {
        print("HPACK table seed \(seed)")
        var random = SeededGenerator(seed: UInt64(seed))
        let entries = ByteArena(count: HPACKDynamicTable.byteCount)
        var table = HPACKDynamicTable()
        var model: [(size: Int, value: UInt64)] = []
        var sizeMax = 4096
        for step in 0..<2000 {
            if random.chance(percent: 3) {
                sizeMax = Int.random(in: 0...4096, using: &random)
                table.resize(to: UInt32(sizeMax), entries: entries.whole)
            } else {
                let name = Int.random(in: 1...60, using: &random)
                let value = Int.random(in: 0...(step % 50 == 0 ? 5000 : 100), using: &random)
                let entry = HPACKDynamicTable.Entry(
                    nameCount: UInt32(name), field: .contentLength, value: UInt64(step))
                table.insert(entry, valueCount: UInt32(value), entries: entries.whole)
                model.insert((name + value + 32, UInt64(step)), at: 0)
            }
            while model.reduce(0, { $0 + $1.size }) > sizeMax { model.removeLast() }
            #expect(table.count == model.count, "seed \(seed), step \(step)")
            #expect(table.size == UInt64(model.reduce(0) { $0 + $1.size }))
            for (index, entry) in model.enumerated() {
                let found = table.entry(index, entries: entries.whole)
                #expect(found?.value == entry.value, "seed \(seed), step \(step)")
            }
        }
        #expect(!table.hasForgotten)
        withExtendedLifetime(entries) {}
    }
}
