/// Reads digits only: no sign, no space, no grouping.
///
/// - Returns: `nil` for anything else, for nothing, and for what `Value` cannot hold.
func decimal<Value: FixedWidthInteger>(_ text: some StringProtocol) -> Value? {
    number(text.utf8, radix: 10)
}

/// Reads digits of `radix`, up to 16, in either letter case.
func number<Value: FixedWidthInteger>(
    _ digits: some Sequence<UInt8>, radix: Value
) -> Value? {
    var value: Value = 0
    var isEmpty = true
    for byte in digits {
        let digit: UInt8
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
        default: return nil
        }
        guard digit < radix else { return nil }
        let (product, productOverflows) = value.multipliedReportingOverflow(by: radix)
        let (sum, sumOverflows) = product.addingReportingOverflow(Value(digit))
        if productOverflows || sumOverflows { return nil }
        value = sum
        isEmpty = false
    }
    return isEmpty ? nil : value
}

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
