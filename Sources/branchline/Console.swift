import ArgumentParser
import Cryptography
import Glibc
import LinuxNetworking
import SystemPackage

/// The program's standard streams.
enum Console {
    /// Writes a line where results go.
    static func output(_ line: String) throws {
        try write(line + "\n")
    }

    /// Writes a line where messages go. Nobody is left to hear of a failure, so there is none.
    static func error(_ line: String) {
        _ = try? FileDescriptor.standardError.writeAll((line + "\n").utf8)
    }

    /// Writes text as it is where results go.
    static func write(_ text: String) throws {
        try writeResult(text.utf8)
    }

    /// Writes text with keys in it where results go, and wipes it.
    static func write(wiping text: inout [UInt8]) throws {
        defer { text.wipe() }
        try writeResult(text)
    }

    /// - Throws: If not all of it could be written. Where the reader has left, the command ends
    ///   without a word, as if SIGPIPE were not ignored.
    private static func writeResult(_ bytes: some Sequence<UInt8>) throws {
        do {
            try FileDescriptor.standardOutput.writeAll(bytes)
        } catch Errno.brokenPipe {
            throw ExitCode(128 + SIGPIPE)
        } catch {
            throw Failure.failed("cannot write to standard output: \(error)")
        }
    }

    /// Reads standard input to its end.
    ///
    /// - Parameter bytesMax: Reading stops with a failure beyond it.
    static func input(bytesMax: Int) throws -> [UInt8] {
        do {
            return try FileDescriptor.standardInput.readToEnd(byteCountMax: bytesMax)
        } catch Errno.fileTooLarge {
            throw Failure.badInput("standard input is larger than \(bytesMax) bytes")
        } catch {
            throw Failure.failed("cannot read standard input: \(error)")
        }
    }
}
