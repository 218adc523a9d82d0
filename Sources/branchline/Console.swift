import Glibc
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

    /// Nobody is left to hear of a failure, so there is none.
    private static func write(_ text: String, to descriptor: FileDescriptor) {
        _ = try? descriptor.writeAll(text.utf8)
    }

    /// Reads standard input to its end.
    ///
    /// - Parameter bytesMax: Reading stops with a failure beyond it.
    static func input(bytesMax: Int) throws -> [UInt8] {
        try FileDescriptor.standardInput.readAll(bytesMax: bytesMax, name: "standard input")
    }
}

extension FileDescriptor {
    /// Reads to the end of the file or stream.
    func readAll(bytesMax: Int, name: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count: Int
            do {
                count = try unsafe buffer.withUnsafeMutableBytes { try unsafe read(into: $0) }
            } catch {
                throw Failure.failed("cannot read \(name): \(error)")
            }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= bytesMax else {
                throw Failure.badInput("\(name) is larger than \(bytesMax) bytes")
            }
        }
    }
}
