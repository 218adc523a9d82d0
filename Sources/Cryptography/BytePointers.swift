import PacketMemory

extension ByteRegion {
    /// The first byte, typed as C's cryptography takes it.
    @unsafe @inline(__always)
    var bytePointer: UnsafeMutablePointer<UInt8> {
        unsafe unsafeStart.assumingMemoryBound(to: UInt8.self)
    }
}

extension Secret32 {
    /// The first byte, typed as C's cryptography takes it.
    @unsafe @inline(__always)
    var bytePointer: UnsafeMutablePointer<UInt8> {
        unsafe unsafeStart.assumingMemoryBound(to: UInt8.self)
    }
}
