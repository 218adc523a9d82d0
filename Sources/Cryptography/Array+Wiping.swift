import CSodium

/// Text that holds keys, as bytes: unlike a `String` it can be wiped.
///
/// An array is wiped only if nothing else holds it; otherwise the wiping would meet a copy.
extension [UInt8] {
    /// Empties the array and sets its bytes to zero, the memory kept. `sodium_memzero`
    public mutating func wipe() {
        wipe(from: 0)
    }

    /// Takes away the last bytes, from `start` on, and sets them to zero. `sodium_memzero`
    public mutating func wipe(from start: Int) {
        unsafe withUnsafeMutableBytes { bytes in
            guard let address = bytes.baseAddress, start < bytes.count else { return }
            unsafe sodium_memzero(address + start, bytes.count - start)
        }
        removeLast(count - start)
    }

    /// Makes room for `byteCount` more bytes, without leaving a copy of those that are here.
    public mutating func reserveWiping(_ byteCount: Int) {
        guard capacity < count + byteCount else { return }
        var larger: [UInt8] = []
        larger.reserveCapacity(Swift.max(count + byteCount, 2 * capacity))
        larger += self
        wipe()
        self = larger
    }

    /// Appends bytes, without leaving a copy of those that are here.
    public mutating func appendWiping(_ bytes: some Collection<UInt8>) {
        reserveWiping(bytes.count)
        append(contentsOf: bytes)
    }

    /// Takes away the first bytes; what was behind them is set to zero where it lay.
    public mutating func removeFirstWiping(_ byteCount: Int) {
        let left = count - byteCount
        for offset in 0..<left { self[offset] = self[byteCount + offset] }
        wipe(from: left)
    }
}
