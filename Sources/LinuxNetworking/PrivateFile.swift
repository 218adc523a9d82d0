import Glibc
public import SystemPackage

/// Files that hold keys.
public enum PrivateFile {
    /// Replaces a file in one step by one that only its owner can read. open, fsync, rename
    public static func replace(_ path: String, with bytes: [UInt8]) throws(Errno) {
        let temporary = path + ".tmp"
        _ = unsafe unlink(temporary)
        do {
            let descriptor = try FileDescriptor.open(
                FilePath(temporary), .writeOnly, options: [.create, .exclusiveCreate],
                permissions: .ownerReadWrite)
            try descriptor.closeAfter {
                _ = try descriptor.writeAll(bytes)
                guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
            }
            guard unsafe rename(temporary, path) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            _ = unsafe unlink(temporary)
            throw (error as? Errno) ?? .ioError
        }
    }
}

extension FileDescriptor {
    /// Reads to the end of the file or stream, into one piece of memory.
    ///
    /// - Throws: EFBIG beyond the limit. read
    public func readToEnd(byteCountMax: Int) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        // Only pages that are written to take memory.
        bytes.reserveCapacity(byteCountMax + 1)
        while true {
            let wanted = min(Self.byteCountPerRead, byteCountMax + 1 - bytes.count)
            let count = unsafe bytes.appendRead(upTo: wanted) {
                unsafe Glibc.read(rawValue, $0.baseAddress, $0.count)
            }
            if count == 0 { return bytes }
            if count < 0 && errno != EINTR { throw Errno(rawValue: errno) }
            if bytes.count > byteCountMax { throw .fileTooLarge }
        }
    }

    /// What one read gives; nothing at the end. read
    public func readChunk(byteCountMax: Int) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let count = unsafe bytes.appendRead(upTo: byteCountMax) {
                unsafe Glibc.read(rawValue, $0.baseAddress, $0.count)
            }
            if count >= 0 { return bytes }
            if errno != EINTR { throw Errno(rawValue: errno) }
        }
    }

    private static var byteCountPerRead: Int { 65_536 }
}

extension [UInt8] {
    /// Appends what a system call reads, without a buffer in between.
    ///
    /// - Parameter body: Fills what it is lent; returns how many bytes it wrote, or -1.
    /// - Returns: What `body` has returned.
    @unsafe
    mutating func appendRead(
        upTo byteCountMax: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
    ) -> Int {
        let start = count
        append(contentsOf: repeatElement(0, count: byteCountMax))
        let read = unsafe withUnsafeMutableBytes { bytes in
            unsafe body(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
        }
        removeLast(byteCountMax - Swift.max(read, 0))
        return read
    }
}
