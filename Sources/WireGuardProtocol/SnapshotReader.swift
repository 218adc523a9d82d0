public import Cryptography
public import PacketFormats
public import PacketMemory

/// Why state of another process cannot be gone on with.
public enum SnapshotError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It ends too soon.
    case truncated
    /// Another program, or a version that this one does not know.
    case unknownFormat(version: UInt16)
    /// The process that wrote it tells another time: it ran before the machine started, or in
    /// another time namespace.
    case foreignClock
    /// What a field says cannot be.
    case invalid(String)

    public var description: String {
        switch self {
        case .truncated: "the state that was handed over ends too soon"
        case .unknownFormat(let version):
            "the state that was handed over has format \(version), which this version can't read"
        case .foreignClock: "the state that was handed over tells the time of another clock"
        case .invalid(let field): "the state that was handed over is invalid: \(field)"
        }
    }
}

/// Reads what a ``SnapshotWriter`` wrote, every field checked against the end of the memory.
public struct SnapshotReader {
    private let region: ByteRegion
    private var offset = 0

    public init(_ region: ByteRegion) { self.region = region }

    /// Bytes that are left.
    public var remainingCount: Int { region.count - offset }

    public mutating func uint8() throws(SnapshotError) -> UInt8 { try bytes(1)[0] }

    public mutating func bool() throws(SnapshotError) -> Bool {
        switch try uint8() {
        case 0: return false
        case 1: return true
        default: throw .invalid("a choice")
        }
    }

    public mutating func uint16() throws(SnapshotError) -> UInt16 {
        try bytes(2).littleEndian16(at: 0)
    }

    public mutating func uint32() throws(SnapshotError) -> UInt32 {
        try bytes(4).littleEndian32(at: 0)
    }

    public mutating func uint64() throws(SnapshotError) -> UInt64 {
        try bytes(8).littleEndian64(at: 0)
    }

    /// A number of items that follow.
    ///
    /// - Parameters:
    ///   - max: More are refused.
    ///   - byteCountMin: What each takes at least: no number is believed that the memory cannot
    ///     hold, so that nobody reserves room for it.
    public mutating func count(
        max: Int, byteCountMin: Int, of field: String
    ) throws(SnapshotError) -> Int {
        let count = Int(try uint32())
        guard count <= max else { throw .invalid("\(count) \(field)") }
        guard count <= remainingCount / Swift.max(byteCountMin, 1) else { throw .truncated }
        return count
    }

    /// A part of the memory, valid as long as that is.
    public mutating func bytes(_ count: Int) throws(SnapshotError) -> ByteRegion {
        guard count >= 0, count <= remainingCount else { throw .truncated }
        defer { offset += count }
        return region.region(at: offset, count: count)
    }

    public mutating func text(byteCountMax: Int = 255) throws(SnapshotError) -> String {
        let count = try count(max: byteCountMax, byteCountMin: 1, of: "bytes of text")
        guard let text = String(validating: try bytes(count).bytes, as: UTF8.self) else {
            throw .invalid("text")
        }
        return text
    }

    public mutating func secret() throws(SnapshotError) -> Secret32 {
        Secret32(copying: try bytes(Secret32.count))
    }

    public mutating func publicKey() throws(SnapshotError) -> PublicKey {
        PublicKey(copying: try bytes(PublicKey.count))
    }

    public mutating func address() throws(SnapshotError) -> IPAddress {
        let isIPv4 = try bool()
        let (high, low) = (try uint64(), try uint64())
        guard isIPv4 else { return IPAddress(high: high, low: low) }
        guard high == 0, let number = UInt32(exactly: low) else { throw .invalid("an address") }
        return IPAddress(ipv4: number)
    }

    public mutating func endpoint() throws(SnapshotError) -> Endpoint {
        Endpoint(address: try address(), port: try uint16(), scope: try uint32())
    }

    public mutating func optional<Value>(
        _ body: (inout SnapshotReader) throws(SnapshotError) -> Value
    ) throws(SnapshotError) -> Value? {
        try bool() ? try body(&self) : nil
    }
}
