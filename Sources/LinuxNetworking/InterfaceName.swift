/// What the kernel accepts as the name of a network interface.
public enum InterfaceName {
    /// Longest name in bytes: IFNAMSIZ without its terminator.
    public static let byteCountMax = 15

    /// Says what is wrong with `name`, or returns `nil` when the kernel would accept it.
    ///
    /// `%` is refused too: the kernel would read it as a pattern and choose another name.
    public static func fault(in name: String) -> String? {
        if name.isEmpty { return "it is empty" }
        if name.utf8.count > byteCountMax {
            return "it is \(name.utf8.count) bytes long, at most \(byteCountMax) are possible"
        }
        if name == "." || name == ".." { return "'.' and '..' are reserved" }
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "/"), UInt8(ascii: ":"), UInt8(ascii: "%"):
                return "it contains '\(Character(UnicodeScalar(byte)))'"
            case 0x09...0x0d, 0x20, 0xa0:
                return "it contains white space"
            case 0x00..<0x20, 0x7f:
                return "it contains a control character"
            default:
                continue
            }
        }
        return nil
    }
}
