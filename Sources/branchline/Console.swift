import Cryptography
import LinuxNetworking
import SystemPackage

/// The program's standard streams.
enum Console {
    /// Writes a line where results go.
    static func output(_ line: String) {
        write(line + "\n", to: .standardOutput)
    }

    /// Writes a line where messages go.
    static func error(_ line: String) {
        write(line + "\n", to: .standardError)
    }

    /// Writes text as it is where results go.
    static func write(_ text: String) {
        write(text, to: .standardOutput)
    }

    /// Writes text with keys in it where results go, and wipes it.
    static func write(wiping text: inout [UInt8]) {
        _ = try? FileDescriptor.standardOutput.writeAll(text)
        text.wipe()
    }

    /// Nobody is left to hear of a failure, so there is none.
    private static func write(_ text: String, to descriptor: FileDescriptor) {
        _ = try? descriptor.writeAll(text.utf8)
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
