import PacketMemory

extension ByteRegion {
    /// The first byte, typed as C's cryptography takes it.
    @unsafe @inline(__always)
    var bytePointer: UnsafeMutablePointer<UInt8> {
        unsafe unsafeStart.assumingMemoryBound(to: UInt8.self)
    }
}

extension ByteRegion {
    /// Whether no byte has its highest bit set; takes the same time for all of one length.
    ///
    /// To ask before decoding base64: libsodium 1.0.18 takes any other byte for the last character
    /// of the alphabet, because it compares negative numbers.
    var isASCII: Bool {
        var bits: UInt8 = 0
        for offset in 0..<count { bits |= self[offset] }
        return bits & 0x80 == 0
    }
}

extension Secret32 {
    /// The first byte, typed as C's cryptography takes it.
    @unsafe @inline(__always)
    var bytePointer: UnsafeMutablePointer<UInt8> {
        unsafe unsafeStart.assumingMemoryBound(to: UInt8.self)
    }
}
