/// Numbers as configuration text writes them.
public enum NumberText {
    /// Reads ASCII digits only: no sign, no space, no grouping.
    ///
    /// - Returns: `nil` for anything else, for nothing, and for what `Value` cannot hold.
    public static func decimal<Value: FixedWidthInteger>(_ text: some StringProtocol) -> Value? {
        value(of: text.utf8, radix: 10)
    }

    /// Reads digits of `radix`, up to 16, in either letter case.
    public static func value<Value: FixedWidthInteger>(
        of digits: some Sequence<UInt8>, radix: Value
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
}
