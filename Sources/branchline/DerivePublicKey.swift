import ArgumentParser
import Cryptography

struct DerivePublicKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pubkey",
        abstract: "Read a private key and print its public key in base64.",
        discussion: """
            The private key is read from standard input. For example:

              branchline pubkey < private.key > public.key
            """)

    func run() throws {
        var bytes = try Console.input(bytesMax: Self.inputBytesMax)
        let key = Self.onlyKey(in: bytes)
        bytes.wipe()
        guard let key else {
            throw Failure.badInput(
                "standard input is not a private key: expected one line of 44 base64 characters, "
                    + "as `branchline genkey` prints it")
        }
        try Console.output(key.publicKey.base64)
    }

    private static func onlyKey(in bytes: [UInt8]) -> PrivateKey? {
        let words = bytes.split { $0 == 0x20 || ($0 >= 0x09 && $0 <= 0x0D) }
        return words.count == 1 ? PrivateKey(base64: words[0]) : nil
    }

    /// A key with generous white space around it, in bytes.
    private static let inputBytesMax = 4096
}
