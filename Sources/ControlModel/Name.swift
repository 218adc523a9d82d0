/// What a tenant or a group is called: 1 to 63 of `a`-`z`, `0`-`9` and inner hyphens.
///
/// One spelling per name, and one that is safe in URLs, file names and metric labels.
///
/// Source: the letters-digits-hyphen labels of RFC 1034, section 3.5, in lower case.
public struct Name: Hashable, Comparable, Sendable {
    public let text: String

    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard (1...63).contains(bytes.count), bytes.allSatisfy(Self.isAllowed),
            bytes.first != Self.hyphen, bytes.last != Self.hyphen
        else { return nil }
        self.text = text
    }

    public static func < (first: Name, second: Name) -> Bool { first.text < second.text }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == hyphen
    }

    private static var hyphen: UInt8 { UInt8(ascii: "-") }
}

extension Name: CustomStringConvertible {
    public var description: String { text }
}
