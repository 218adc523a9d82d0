/// Keys, pins and ids on the command line: one in 64 begins with a hyphen, as options do.
enum KeyText {
    /// Marks keys, so that they are not taken for options.
    ///
    /// Only what has a key's or id's length and something that no option's name has counts.
    static func marking(_ arguments: [String]) -> [String] {
        arguments.map { $0.hasPrefix("-") && isKey($0) ? mark + $0 : $0 }
    }

    /// The key, without the mark.
    static func read(_ text: String) -> String {
        text.hasPrefix(mark + "-") ? String(text.dropFirst(mark.count)) : text
    }

    private static func isKey(_ text: String) -> Bool {
        counts.contains(text.utf8.count)
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) }
            && text.contains { $0.isUppercase || $0.isNumber || $0 == "_" }
    }

    private static let mark = "="
    /// Of 16 and of 32 bytes in base64.
    private static let counts = [22, 43]
}
