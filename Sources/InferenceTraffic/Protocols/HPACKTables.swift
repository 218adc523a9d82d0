import PacketFormats
import PacketMemory

/// The static table and the Huffman code of HPACK, made for lookups once.
///
/// Source: RFC 7541, appendices A and B.
struct HPACKTables: ~Copyable {
    /// What an entry of the static table says.
    struct StaticEntry {
        var nameCount: UInt32 = 0
        var field = HTTPField.other
        var value: UInt64 = 0
    }

    /// Index 0 is unused.
    private var statics: FixedTable<StaticEntry>
    /// Symbols by the length of their code, then by their number: the order of their codes.
    private var symbols: FixedTable<UInt16>
    private var lengths: FixedTable<CodeLength>

    /// The codes of one length: they follow one another.
    private struct CodeLength {
        var firstCode: UInt32 = 0
        var count: UInt32 = 0
        var firstSymbol: UInt32 = 0
    }

    init(vocabulary: borrowing Vocabulary) {
        statics = FixedTable(repeating: StaticEntry(), count: Self.staticCount + 1)
        symbols = FixedTable(repeating: 0, count: Self.codeLengths.count)
        lengths = FixedTable(repeating: CodeLength(), count: Self.codeLengthMax + 1)
        fillStatics(vocabulary: vocabulary)
        fillCode()
    }

    deinit {}

    /// - Parameter index: 1...61.
    func staticEntry(_ index: Int) -> StaticEntry { statics[index] }

    /// - Returns: `nil` as long as no code of this length has these bits; 256 is EOS.
    func symbol(code: UInt32, length: Int) -> UInt16? {
        let row = lengths[length]
        guard code >= row.firstCode, code &- row.firstCode < row.count else { return nil }
        return symbols[Int(row.firstSymbol &+ (code &- row.firstCode))]
    }

    private mutating func fillStatics(vocabulary: borrowing Vocabulary) {
        for (index, (name, value)) in Self.staticTable.enumerated() {
            let entry = ByteArena.withCopy(of: Array(name.utf8)) { name in
                ByteArena.withCopy(of: Array(value.utf8)) { value in
                    let field = vocabulary.field(named: name)
                    let meaning = vocabulary.meaning(of: field, value, isWhole: true)
                    return StaticEntry(
                        nameCount: UInt32(name.count), field: field, value: meaning ?? 0)
                }
            }
            statics[index + 1] = entry
        }
    }

    /// The code is canonical: codes of a length are consecutive in the order of their symbols.
    private mutating func fillCode() {
        var (code, place): (UInt32, Int) = (0, 0)
        for length in 1...Self.codeLengthMax {
            code <<= 1
            lengths[length].firstCode = code
            lengths[length].firstSymbol = UInt32(place)
            for (symbol, itsLength) in Self.codeLengths.enumerated() where itsLength == length {
                symbols[place] = UInt16(symbol)
                place += 1
                code += 1
            }
            lengths[length].count = UInt32(place) - lengths[length].firstSymbol
        }
    }

    static let staticCount = 61
    static let codeLengthMin = 5
    static let codeLengthMax = 30
    static let endOfString: UInt16 = 256

    /// Appendix A.
    private static let staticTable = [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
        (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
        (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
        (":status", "404"), (":status", "500"), ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
        ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
        ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
        ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
        ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
        ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
        ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
        ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
        ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""),
        ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""),
        ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
        ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ]

    /// Appendix B: bits of the code of each symbol, the last is EOS.
    private static let codeLengths: [UInt8] = [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
        28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
        6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
        21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
        19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
        30,
    ]
}
