import ControlModel

/// The parameters of a request's query, decoded strictly.
///
/// Repeated and broken parameters are refused when they are asked for, so nobody can mean two
/// things by one request. Unknown ones are ignored.
struct QueryText: Hashable, Sendable {
    private let pairs: [(name: String, value: String?)]

    /// - Parameter query: What follows the question mark.
    init(_ query: Substring) {
        pairs = query.split(separator: "&").prefix(Self.pairsMax).map { pair in
            let parts = pair.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (
                PercentCoding.decode(parts[0]) ?? "",
                parts.count == 2 ? PercentCoding.decode(parts[1], plusIsSpace: true) : ""
            )
        }
    }

    /// - Returns: `nil` where it is not there.
    func text(_ name: String) throws -> String? {
        let found = pairs.filter { $0.name == name }
        guard let first = found.first else { return nil }
        guard found.count == 1, let value = first.value else {
            throw CoordinatorAPI.Problem.invalidRequest("\(name) must be given once, as UTF-8")
        }
        return value
    }

    func integer(_ name: String, in range: ClosedRange<Int64>) throws -> Int64? {
        let found = pairs.filter { $0.name == name }
        guard !found.isEmpty else { return nil }
        guard let text = try text(name), text.wholeMatch(of: /[0-9]{1,16}/) != nil,
            let number = Int64(text), range.contains(number)
        else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "\(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    static func == (first: QueryText, second: QueryText) -> Bool {
        first.pairs.elementsEqual(second.pairs) { $0 == $1 }
    }

    func hash(into hasher: inout Hasher) {
        for pair in pairs { hasher.combine(pair.name) }
    }

    private static var pairsMax: Int { 32 }
}

/// Percent-encoding of URLs.
///
/// Source: RFC 3986, section 2.1.
enum PercentCoding {
    /// - Returns: `nil` for a broken escape, and for what is not UTF-8 or holds control characters.
    static func decode(_ text: Substring, plusIsSpace: Bool = false) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(digit),
                    let low = rest.popFirst().flatMap(digit)
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        Character(UnicodeScalar(byte)).hexDigitValue.map(UInt8.init)
    }
}
