import ArgumentParser
import ControlModel
import Cryptography
import LinuxNetworking
import SystemPackage

/// Where the passphrase of a signing key comes from.
struct PassphraseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Read the key's passphrase from a file, such as /dev/fd/3, instead of the terminal.",
            valueName: "file"),
        completion: .file())
    var passphraseFile: String?

    /// - Returns: The passphrase, which the caller wipes.
    func read(for purpose: String) throws -> [UInt8] {
        if let passphraseFile { return try readFile(passphraseFile) }
        return try Self.ask("Passphrase of \(purpose): ")
    }

    /// A passphrase for new keys, asked for twice.
    func readNew() throws -> [UInt8] {
        if let passphraseFile {
            let secret = try readFile(passphraseFile)
            try Self.checkLength(secret)
            return secret
        }
        let first = try Self.ask("New passphrase for the keys: ")
        var second = try Self.ask("The same again: ")
        defer { second.wipe() }
        guard !first.isEmpty else {
            throw Failure.badInput(
                "the passphrase is empty; for keys without one use --no-passphrase")
        }
        guard first == second else {
            throw Failure.badInput("the passphrases differ; nothing was made, start again")
        }
        try Self.checkLength(first)
        return first
    }

    private static func checkLength(_ secret: [UInt8]) throws {
        guard secret.count >= newPassphraseBytesMin else {
            throw Failure.badInput(
                "the passphrase is shorter than \(newPassphraseBytesMin) bytes, which is soon "
                    + "guessed; take a longer one, such as four random words")
        }
    }

    /// A secret that is typed and not shown.
    static func ask(_ prompt: String) throws -> [UInt8] {
        do {
            guard
                let secret = try Terminal.readSecret(
                    prompt: prompt, byteCountMax: KeyFile.passphraseBytesMax)
            else { throw Failure.failed("nothing was typed; nothing was done") }
            return secret
        } catch Errno.fileTooLarge {
            throw Failure.badInput("more was typed than \(KeyFile.passphraseBytesMax) bytes")
        } catch let error as Errno {
            throw Failure.badInput(
                "there is no terminal to ask on (\(error)); give a file, as --help says")
        }
    }

    /// The file's bytes without the line's end.
    private func readFile(_ path: String) throws -> [UInt8] {
        do {
            let descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: .closeOnExec)
            var bytes = try descriptor.closeAfter {
                try descriptor.readToEnd(byteCountMax: KeyFile.passphraseBytesMax + 2)
            }
            while bytes.last == UInt8(ascii: "\n") || bytes.last == UInt8(ascii: "\r") {
                bytes.removeLast()
            }
            return bytes
        } catch Errno.fileTooLarge {
            throw Failure.badInput(
                "\(path) is longer than \(KeyFile.passphraseBytesMax) bytes; is it a passphrase?")
        } catch {
            throw Failure.badInput("cannot read the passphrase from \(path): \(error)")
        }
    }

    private static let newPassphraseBytesMin = 8
}
