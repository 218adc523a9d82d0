import PacketMemory

/// Reads choices and bytes from the fuzzer's input; zeros follow after its end.
struct FuzzInput {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var offset = 0

    /// - Parameter start: First of `count` bytes that stay valid during the call of the target.
    init(_ start: UnsafePointer<UInt8>?, _ count: Int) {
        bytes = UnsafeBufferPointer(start: start, count: start == nil ? 0 : count)
    }

    var remaining: Int { bytes.count - offset }
    var isAtEnd: Bool { remaining == 0 }

    mutating func byte() -> UInt8 {
        guard offset < bytes.count else { return 0 }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func uint16() -> Int { Int(byte()) << 8 | Int(byte()) }

    /// The next bytes, fewer where the input ends.
    mutating func take(_ count: Int) -> [UInt8] {
        let taken = Array(bytes[offset..<offset + min(count, remaining)])
        offset += taken.count
        return taken
    }

    /// Everything that is left.
    mutating func rest() -> [UInt8] { take(remaining) }
}

extension ByteRegion {
    /// Copies an array to the start.
    func write(_ source: [UInt8]) {
        for (offset, byte) in source.enumerated() { self[offset] = byte }
    }
}

/// Ends the process, which the fuzzer reports as a crash, where a claim does not hold.
func claim(_ condition: Bool, _ message: @autoclosure () -> String) {
    if !condition { fatalError(message()) }
}
