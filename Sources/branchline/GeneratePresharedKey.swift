import ArgumentParser
import Cryptography

struct GeneratePresharedKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "genpsk",
        abstract: "Make a new preshared key and print it in base64.",
        discussion: """
            Two peers that share the key set it as PresharedKey of each other. For example:

              (umask 077; branchline genpsk > preshared.key)
            """)

    func run() throws {
        var text: [UInt8] = []
        PresharedKey.generate().unsafeAppendBase64(to: &text)
        text.appendWiping("\n".utf8)
        try Console.write(wiping: &text)
    }
}
