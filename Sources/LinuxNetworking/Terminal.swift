import Glibc
public import SystemPackage

/// The terminal that the program was started from.
public enum Terminal {
    /// Whether a descriptor is a terminal. isatty
    public static func isTerminal(_ descriptor: FileDescriptor) -> Bool {
        isatty(descriptor.rawValue) == 1
    }

    /// Asks for a secret and reads it without showing it, whatever standard input is. tcsetattr
    ///
    /// - Parameter prompt: Shown before the answer.
    /// - Returns: One line without its end; the caller wipes it. `nil` for the end of input and
    ///   for Ctrl-C.
    /// - Throws: ENXIO without a terminal, EFBIG beyond the limit.
    public static func readSecret(
        prompt: String, byteCountMax: Int
    ) throws(Errno) -> [UInt8]? {
        let terminal = unsafe open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0 else { throw Errno(rawValue: errno) }
        defer { close(terminal) }
        var settings = termios()
        guard unsafe tcgetattr(terminal, &settings) == 0 else { throw Errno(rawValue: errno) }
        var silent = settings
        // Signals would end the program with the terminal still silent, so their keys are read.
        silent.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        guard unsafe tcsetattr(terminal, TCSAFLUSH, &silent) == 0 else {
            throw Errno(rawValue: errno)
        }
        defer { _ = unsafe tcsetattr(terminal, TCSAFLUSH, &settings) }
        do {
            try FileDescriptor(rawValue: terminal).writeAll(prompt.utf8)
        } catch {
            throw (error as? Errno) ?? .ioError
        }
        let line = try readKeys(terminal, byteCountMax: byteCountMax)
        _ = try? FileDescriptor(rawValue: terminal).writeAll("\n".utf8)
        return line
    }

    /// Asks for a line and shows it as it is typed. read
    ///
    /// - Returns: Without its end; `nil` for the end of input.
    public static func readLine(prompt: String) throws(Errno) -> String? {
        let terminal = unsafe open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0 else { throw Errno(rawValue: errno) }
        defer { close(terminal) }
        do {
            try FileDescriptor(rawValue: terminal).writeAll(prompt.utf8)
        } catch {
            throw (error as? Errno) ?? .ioError
        }
        return try readLine(terminal, byteCountMax: lineBytesMax)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// Reads a line from a terminal that passes every key on.
    private static func readKeys(
        _ terminal: CInt, byteCountMax: Int
    ) throws(Errno) -> [UInt8]? {
        var line: [UInt8] = []
        line.reserveCapacity(byteCountMax + 1)
        while let byte = try readByte(terminal) {
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"): return line
            case Key.interrupt: return nil
            case Key.end: if line.isEmpty { return nil }
            case Key.erase, Key.backspace: line.removeLast(line.isEmpty ? 0 : 1)
            case Key.kill: line.removeAll(keepingCapacity: true)
            default:
                guard line.count < byteCountMax else { throw .fileTooLarge }
                line.append(byte)
            }
        }
        return line.isEmpty ? nil : line
    }

    private static func readLine(
        _ terminal: CInt, byteCountMax: Int
    ) throws(Errno) -> [UInt8]? {
        var line: [UInt8] = []
        line.reserveCapacity(byteCountMax + 1)
        while let byte = try readByte(terminal) {
            if byte == UInt8(ascii: "\n") { return line }
            guard line.count < byteCountMax else { throw .fileTooLarge }
            line.append(byte)
        }
        return line.isEmpty ? nil : line
    }

    /// - Returns: `nil` for the end of input.
    private static func readByte(_ terminal: CInt) throws(Errno) -> UInt8? {
        while true {
            var byte: UInt8 = 0
            let count = unsafe read(terminal, &byte, 1)
            if count == 1 { return byte }
            if count == 0 { return nil }
            if errno != EINTR { throw Errno(rawValue: errno) }
        }
    }

    /// Control characters that terminals send for editing a line.
    private enum Key {
        static let interrupt: UInt8 = 0x03
        static let end: UInt8 = 0x04
        static let backspace: UInt8 = 0x08
        static let kill: UInt8 = 0x15
        static let erase: UInt8 = 0x7F
    }

    private static var lineBytesMax: Int { 1024 }
}
