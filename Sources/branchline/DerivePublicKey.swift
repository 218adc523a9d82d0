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
        let bytes = try Console.input(bytesMax: Self.inputBytesMax)
        let isSpace = { (byte: UInt8) in byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
        let words = bytes.split(whereSeparator: isSpace)
        guard words.count == 1, let word = words.first,
            let key = PrivateKey(base64: String(decoding: word, as: UTF8.self))
        else {
            throw Failure.badInput(
                "standard input is not a private key: expected one line of 44 base64 characters, "
                    + "as `branchline genkey` prints it")
        }
        Console.output(key.publicKey.base64)
    }

    /// A key with generous white space around it, in bytes.
    private static let inputBytesMax = 4096
}
