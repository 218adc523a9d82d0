public import Cryptography
public import PacketFormats
public import PacketMemory

/// Writes state that another process of this machine goes on with: fields behind each other,
/// little-endian, without padding.
///
/// Without memory it only counts, so that the owner of the state can ask for exactly the memory
/// that it needs: written twice without a change in between, the state takes the same number of
/// bytes. What is written may be keys: the owner of the memory wipes it.
public struct SnapshotWriter {
    private let region: ByteRegion?
    /// Bytes written, or counted, so far.
    public private(set) var count = 0

    /// Counts and writes nothing.
    public init() { region = nil }

    /// - Parameter region: Holds all that will be written.
    public init(into region: ByteRegion) { self.region = region }

    public mutating func write(_ value: UInt8) {
        region?[count] = value
        count += 1
    }

    public mutating func write(_ value: Bool) { write(value ? 1 : 0 as UInt8) }

    public mutating func write(_ value: UInt16) {
        region?.storeLittleEndian(value, at: count)
        count += 2
    }

    public mutating func write(_ value: UInt32) {
        region?.storeLittleEndian(value, at: count)
        count += 4
    }

    public mutating func write(_ value: UInt64) {
        region?.storeLittleEndian(value, at: count)
        count += 8
    }

    /// A number of items that follow, or a number of a peer.
    public mutating func write(count number: Int) { write(UInt32(clamping: number)) }

    /// Bytes whose number the reader knows.
    public mutating func write(_ bytes: ByteRegion) {
        region?.copy(from: bytes, to: count)
        count += bytes.count
    }

    public mutating func write(_ text: String) {
        let bytes = Array(text.utf8)
        write(count: bytes.count)
        for byte in bytes { write(byte) }
    }

    public mutating func write(_ secret: borrowing Secret32) { secret.withBytes { write($0) } }

    public mutating func write(_ key: PublicKey) { key.withBytes { write($0) } }

    public mutating func write(_ address: IPAddress) {
        write(address.isIPv4)
        write(address.high)
        write(address.low)
    }

    public mutating func write(_ endpoint: Endpoint) {
        write(endpoint.address)
        write(endpoint.port)
        write(endpoint.scope)
    }

    /// Whether there is a value, and the value.
    public mutating func write<Value>(
        _ value: Value?, _ body: (inout SnapshotWriter, Value) -> Void
    ) {
        write(value != nil)
        if let value { body(&self, value) }
    }
}
