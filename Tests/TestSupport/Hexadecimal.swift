extension [UInt8] {
    /// The bytes that `hex` spells, white space left out.
    ///
    /// - Returns: `nil` if it holds anything but pairs of hexadecimal digits.
    package init?(hex: String) {
        self = []
        var high: UInt8?
        for character in hex where !character.isWhitespace {
            guard character.isASCII, let digit = character.hexDigitValue else { return nil }
            if let pending = high {
                append(pending << 4 | UInt8(digit))
                high = nil
            } else {
                high = UInt8(digit)
            }
        }
        if high != nil { return nil }
    }
}

/// The bytes that the text of a vector spells.
package func bytes(hex: String) -> [UInt8] {
    guard let bytes = [UInt8](hex: hex) else { preconditionFailure("not hexadecimal: \(hex)") }
    return bytes
}
