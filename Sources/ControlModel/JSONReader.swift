/// Reads the JSON of statements, of which every text has one meaning to every reader.
///
/// Beyond RFC 8259 it refuses whatever implementations read differently or that statements do not
/// need: repeated member names, white space, escapes, anything but printable ASCII, numbers other
/// than integers from 0 to 2^53-1, `null`, deep nesting and bytes behind the value.
///
/// Source: RFC 8259; RFC 7493 (I-JSON); RFC 8725, sections 2.4 and 2.6.
struct JSONReader {
    private let bytes: [UInt8]
    private var position = 0

    static func read(_ bytes: [UInt8]) throws(Refusal) -> JSONValue {
        var reader = JSONReader(bytes: bytes)
        let value = try reader.value(depth: 0)
        guard reader.position == bytes.count else {
            throw reader.fault("bytes behind the value")
        }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func value(depth: Int) throws(Refusal) -> JSONValue {
        guard let first = peek else { throw fault("text ends early") }
        switch first {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return .integer(try integer())
        case UInt8(ascii: "t"): return try word("true", .flag(true))
        case UInt8(ascii: "f"): return try word("false", .flag(false))
        default: throw fault("a value was expected")
        }
    }

    private mutating func object(depth: Int) throws(Refusal) -> JSONValue {
        try enter(depth)
        var members: [JSONValue.Member] = []
        if take("}") { return .object(members) }
        repeat {
            let name = try string()
            guard !members.contains(where: { $0.name == name }) else {
                throw Refusal(.duplicateField, name)
            }
            guard members.count < TrustLimits.membersMax else { throw fault("too many members") }
            try expect(":")
            members.append(.init(name: name, value: try value(depth: depth + 1)))
        } while take(",")
        try expect("}")
        return .object(members)
    }

    private mutating func array(depth: Int) throws(Refusal) -> JSONValue {
        try enter(depth)
        var values: [JSONValue] = []
        if take("]") { return .array(values) }
        repeat {
            values.append(try value(depth: depth + 1))
        } while take(",")
        try expect("]")
        return .array(values)
    }

    /// Steps over the bracket that `value` saw.
    private mutating func enter(_ depth: Int) throws(Refusal) {
        guard depth < TrustLimits.nestingMax else {
            throw Refusal(.nestedTooDeep, "at most \(TrustLimits.nestingMax) levels")
        }
        position += 1
    }

    private mutating func string() throws(Refusal) -> String {
        try expect("\"")
        let start = position
        while let byte = peek, byte != UInt8(ascii: "\"") {
            guard JSONText.isPlain(byte) else { throw fault("not a plain character") }
            position += 1
        }
        let end = position
        guard end - start <= TrustLimits.stringBytesMax else { throw fault("string too long") }
        try expect("\"")
        return String(decoding: bytes[start..<end], as: UTF8.self)
    }

    private mutating func integer() throws(Refusal) -> Int64 {
        let start = position
        var number: Int64 = 0
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            number = number * 10 + Int64(byte - UInt8(ascii: "0"))
            // Checked at every digit, so the next multiplication cannot overflow.
            guard number <= TrustLimits.integerMax else { throw fault("number too large") }
            position += 1
        }
        guard bytes[start] != UInt8(ascii: "0") || position == start + 1 else {
            throw fault("leading zero")
        }
        return number
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(Refusal) -> JSONValue {
        guard bytes[position...].starts(with: word.utf8) else {
            throw fault("a value was expected")
        }
        position += word.utf8.count
        return value
    }

    private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws(Refusal) {
        guard take(character) else { throw fault("\(character) was expected") }
    }

    private func fault(_ what: String) -> Refusal { Refusal(.notJSON, "\(what) at \(position)") }
}

enum JSONText {
    /// Whether `byte` stands for itself in a string: printable ASCII, no quote, no backslash.
    static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }
}
