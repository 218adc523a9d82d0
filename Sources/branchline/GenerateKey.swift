import ArgumentParser
import Cryptography

struct GenerateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "genkey",
        abstract: "Make a new private key and print it in base64.",
        discussion: """
            Keep the key where only its owner can read it, for example:

              (umask 077; branchline genkey > private.key)
            """)

    func run() throws {
        var text: [UInt8] = []
        PrivateKey.generate().unsafeAppendBase64(to: &text)
        text.appendWiping("\n".utf8)
        try Console.write(wiping: &text)
    }
}
