import PacketFormats

/// What can name a network namespace that ip-netns(8) shows.
///
/// A name is a file in ``NetworkNamespace/folder`` and a word in commands.
public enum NamespaceName {
    /// Longest name in bytes.
    public static let byteCountMax = 64
    /// What is accepted, in words.
    public static let rule = "1 to \(byteCountMax) letters, digits and _=+.-"

    /// Says what is wrong with `name`; `nil` where nothing is.
    public static func fault(in name: String) -> String? {
        if name.isEmpty { return "it is empty" }
        if name.utf8.count > byteCountMax {
            return "it is \(name.utf8.count) bytes long, at most \(byteCountMax) are possible"
        }
        if name.hasPrefix(".") { return "it begins with '.', as hidden files do" }
        if name.hasPrefix("-") { return "it begins with '-', as options of programs do" }
        if name.utf8.allSatisfy(InterfaceName.isPossible) { return nil }
        return "it contains something other than letters, digits and _=+.-"
    }
}
