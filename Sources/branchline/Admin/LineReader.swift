import LinuxNetworking
import SystemPackage

/// The lines of a file that may be larger than memory.
struct LineReader: ~Copyable {
    private let path: String
    private let descriptor: FileDescriptor
    private var pending: [UInt8] = []
    /// Where the next line begins in `pending`.
    private var start = 0
    private var isAtEnd = false

    /// - Parameter path: `-` for standard input.
    init(_ path: String) throws {
        self.path = path
        guard path != "-" else {
            descriptor = .standardInput
            return
        }
        do {
            descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: .closeOnExec)
        } catch {
            throw Failure.badInput("cannot read \(path): \(error)")
        }
    }

    deinit {
        if path != "-" { try? descriptor.close() }
    }

    /// - Returns: The next line without its end; `nil` after the last.
    mutating func next() throws -> [UInt8]? {
        var searched = start
        while true {
            if let end = pending[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                return Array(pending[start..<end])
            }
            if isAtEnd {
                defer { start = pending.count }
                return start < pending.count ? Array(pending[start...]) : nil
            }
            pending.removeFirst(start)
            start = 0
            searched = pending.count
            guard searched <= Self.lineBytesMax else {
                throw Failure.badInput("\(path) has a line of more than \(Self.lineBytesMax) bytes")
            }
            let chunk: [UInt8]
            do {
                chunk = try descriptor.readChunk(byteCountMax: Self.chunkBytes)
            } catch {
                throw Failure.badInput("cannot read \(path): \(error)")
            }
            if chunk.isEmpty { isAtEnd = true }
            pending += chunk
        }
    }

    private static var lineBytesMax: Int { 16 << 20 }
    private static var chunkBytes: Int { 1 << 18 }
}
