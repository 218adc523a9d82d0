extension Substring {
    /// Without ASCII white space at both ends.
    var trimmed: Substring {
        guard let first = utf8.firstIndex(where: { !isSpace($0) }),
            let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return self[endIndex...] }
        return self[first..<utf8.index(after: last)]
    }

    /// The comma-separated entries, trimmed; empty ones stay.
    var commaSeparated: [Substring] {
        split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmed }
    }
}

/// ASCII white space as C's isspace sees it, without the line feed that ends lines.
func isSpace(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || (byte >= 0x09 && byte <= 0x0D)
}

/// How an error repeats input: in quotes, or by its length where it might hold a key.
func quoted(_ value: some StringProtocol) -> String {
    if value.isEmpty { return "nothing" }
    let isPrintable = value.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    guard value.count <= ConfigurationLimits.quotedCharactersMax, isPrintable else {
        return "a text of \(value.count) characters"
    }
    return "\"\(value)\""
}
