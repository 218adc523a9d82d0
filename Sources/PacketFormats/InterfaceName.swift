/// What can name a tunnel interface.
///
/// The kernel takes more. Names stand in file names and in shell commands of configuration files.
///
/// Source: wg-quick(8): `[a-zA-Z0-9_=+.-]{1,15}`; Linux refuses `.`, `..`, `all` and `default`, and
/// what begins with `-` would be an option to ip(8), wg(8) and the daemon.
public enum InterfaceName {
    /// Longest name in bytes: Linux's IFNAMSIZ without its terminator.
    public static let byteCountMax = 15
    /// What is accepted, in words.
    public static let rule = "1 to \(byteCountMax) letters, digits and _=+.-"

    /// Says what is wrong with `name`; `nil` where nothing is.
    public static func fault(in name: String) -> String? {
        if name.isEmpty { return "it is empty" }
        if name.utf8.count > byteCountMax {
            return "it is \(name.utf8.count) bytes long, at most \(byteCountMax) are possible"
        }
        if name == "." || name == ".." { return "'.' and '..' are reserved" }
        if name == "all" || name == "default" {
            return "'all' and 'default' are reserved: Linux keeps settings under them"
        }
        if name.hasPrefix("-") { return "it begins with '-', as options of programs do" }
        if name.utf8.allSatisfy(isPossible) { return nil }
        return "it contains something other than letters, digits and _=+.-"
    }

    /// Whether names may have the character.
    public static func isPossible(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "_=+.-".utf8.contains(byte)
        }
    }
}
