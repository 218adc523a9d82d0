/// BLAKE2s's compression function and its starting state, over raw memory.
///
/// Plain 32-bit variables rather than vectors: the four mixings of a half-round are independent
/// of each other, which keeps a superscalar core busier than shuffling one vector per row does.
///
/// Source: RFC 7693, sections 2 and 3.
enum BLAKE2sCompression {
    /// Bytes of a state: eight words, little-endian, so that a finished state is the digest.
    static let stateCount = 32
    static let blockCount = 64

    /// Writes the state of a hash that has consumed nothing yet.
    /// - Parameter outputCount: 1...32 bytes.
    /// - Parameter keyCount: 0...32 bytes.
    @inline(__always)
    static func start(_ state: UnsafeMutableRawPointer, outputCount: Int, keyCount: Int) {
        let parameters = 0x0101_0000 | UInt32(keyCount) << 8 | UInt32(outputCount)
        unsafe state.store(0x6a09_e667 ^ parameters, word: 0)
        unsafe state.store(0xbb67_ae85, word: 1)
        unsafe state.store(0x3c6e_f372, word: 2)
        unsafe state.store(0xa54f_f53a, word: 3)
        unsafe state.store(0x510e_527f, word: 4)
        unsafe state.store(0x9b05_688c, word: 5)
        unsafe state.store(0x1f83_d9ab, word: 6)
        unsafe state.store(0x5be0_cd19, word: 7)
    }

    /// Mixes one 64-byte block into the state.
    /// - Parameter consumed: Bytes hashed including this block, without padding.
    @inline(never)
    static func compress(
        _ state: UnsafeMutableRawPointer, _ block: UnsafeRawPointer, consumed: UInt64, isLast: Bool
    ) {
        var rows = unsafe WorkingRows(state, consumed: consumed, isLast: isLast)
        unsafe rows.round(block, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        unsafe rows.round(block, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        unsafe rows.round(block, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
        unsafe rows.round(block, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
        unsafe rows.round(block, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
        unsafe rows.round(block, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
        unsafe rows.round(block, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
        unsafe rows.round(block, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
        unsafe rows.round(block, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
        unsafe rows.round(block, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
        unsafe rows.fold(into: state)
    }
}

/// The sixteen working words, four to a row.
private struct WorkingRows {
    var a0, a1, a2, a3: UInt32
    var b0, b1, b2, b3: UInt32
    var c0, c1, c2, c3: UInt32
    var d0, d1, d2, d3: UInt32

    @inline(__always)
    init(_ state: UnsafeMutableRawPointer, consumed: UInt64, isLast: Bool) {
        unsafe (a0, a1) = (state.word(0), state.word(1))
        unsafe (a2, a3) = (state.word(2), state.word(3))
        unsafe (b0, b1) = (state.word(4), state.word(5))
        unsafe (b2, b3) = (state.word(6), state.word(7))
        (c0, c1, c2, c3) = (0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a)
        d0 = 0x510e_527f ^ UInt32(truncatingIfNeeded: consumed)
        d1 = 0x9b05_688c ^ UInt32(truncatingIfNeeded: consumed &>> 32)
        d2 = isLast ? ~0x1f83_d9ab : 0x1f83_d9ab
        d3 = 0x5be0_cd19
    }

    /// One round: the columns, then the diagonals; `s` are a row of the message schedule.
    @inline(__always)
    mutating func round(
        _ m: UnsafeRawPointer,
        _ s0: Int, _ s1: Int, _ s2: Int, _ s3: Int, _ s4: Int, _ s5: Int, _ s6: Int, _ s7: Int,
        _ s8: Int, _ s9: Int, _ s10: Int, _ s11: Int, _ s12: Int, _ s13: Int, _ s14: Int, _ s15: Int
    ) {
        unsafe mix(&a0, &b0, &c0, &d0, m.word(s0), m.word(s1))
        unsafe mix(&a1, &b1, &c1, &d1, m.word(s2), m.word(s3))
        unsafe mix(&a2, &b2, &c2, &d2, m.word(s4), m.word(s5))
        unsafe mix(&a3, &b3, &c3, &d3, m.word(s6), m.word(s7))
        unsafe mix(&a0, &b1, &c2, &d3, m.word(s8), m.word(s9))
        unsafe mix(&a1, &b2, &c3, &d0, m.word(s10), m.word(s11))
        unsafe mix(&a2, &b3, &c0, &d1, m.word(s12), m.word(s13))
        unsafe mix(&a3, &b0, &c1, &d2, m.word(s14), m.word(s15))
    }

    @inline(__always)
    func fold(into state: UnsafeMutableRawPointer) {
        unsafe state.store(state.word(0) ^ a0 ^ c0, word: 0)
        unsafe state.store(state.word(1) ^ a1 ^ c1, word: 1)
        unsafe state.store(state.word(2) ^ a2 ^ c2, word: 2)
        unsafe state.store(state.word(3) ^ a3 ^ c3, word: 3)
        unsafe state.store(state.word(4) ^ b0 ^ d0, word: 4)
        unsafe state.store(state.word(5) ^ b1 ^ d1, word: 5)
        unsafe state.store(state.word(6) ^ b2 ^ d2, word: 6)
        unsafe state.store(state.word(7) ^ b3 ^ d3, word: 7)
    }
}

/// The mixing function G; rotations by 16, 12, 8 and 7 to the right.
@inline(__always)
private func mix(
    _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32,
    _ x: UInt32, _ y: UInt32
) {
    a = a &+ b &+ x
    d = rotateRight(d ^ a, 16)
    c = c &+ d
    b = rotateRight(b ^ c, 12)
    a = a &+ b &+ y
    d = rotateRight(d ^ a, 8)
    c = c &+ d
    b = rotateRight(b ^ c, 7)
}

@inline(__always)
private func rotateRight(_ word: UInt32, _ count: UInt32) -> UInt32 {
    word &>> count | word &<< (32 &- count)
}

extension UnsafeRawPointer {
    @inline(__always)
    fileprivate func word(_ index: Int) -> UInt32 {
        UInt32(littleEndian: unsafe loadUnaligned(fromByteOffset: index &* 4, as: UInt32.self))
    }
}

extension UnsafeMutableRawPointer {
    @inline(__always)
    fileprivate func word(_ index: Int) -> UInt32 {
        UInt32(littleEndian: unsafe loadUnaligned(fromByteOffset: index &* 4, as: UInt32.self))
    }

    @inline(__always)
    fileprivate func store(_ value: UInt32, word index: Int) {
        unsafe storeBytes(of: value.littleEndian, toByteOffset: index &* 4, as: UInt32.self)
    }
}
