/// Code points as people write them.
extension DSCP {
    /// Such as `AF21`, `EF`, `CS6`, `LE` or `DF` in any case, or a number from 0 to 63.
    ///
    /// - Returns: `nil` for anything else.
    public init?(name text: String) {
        if let number = Self.number(text) {
            self.init(rawValue: number)
        } else if let named = Self.names.first(where: { $0.name == text.uppercased() }) {
            self.init(rawValue: named.rawValue)
        } else {
            return nil
        }
    }

    /// The registered name, otherwise the number.
    public var name: String {
        Self.names.first { $0.rawValue == rawValue }?.name ?? "\(rawValue)"
    }

    private static func number(_ text: String) -> UInt8? {
        let isPlain = text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isPlain, (1...2).contains(text.utf8.count) else { return nil }
        return UInt8(text)
    }

    /// Source: IANA, Differentiated Services Field Codepoints (RFC 2474, 2597, 3246, 5865, 8622).
    private static let names: [(name: String, rawValue: UInt8)] = [
        ("DF", 0), ("CS0", 0), ("LE", 1), ("CS1", 8), ("AF11", 10), ("AF12", 12), ("AF13", 14),
        ("CS2", 16), ("AF21", 18), ("AF22", 20), ("AF23", 22), ("CS3", 24), ("AF31", 26),
        ("AF32", 28), ("AF33", 30), ("CS4", 32), ("AF41", 34), ("AF42", 36), ("AF43", 38),
        ("CS5", 40), ("VOICE-ADMIT", 44), ("EF", 46), ("CS6", 48), ("CS7", 56),
    ]
}
