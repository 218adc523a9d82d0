public import PacketMemory

/// The Internet checksum.
///
/// Partial sums are in the machine's own byte order, which a ones-complement sum permits;
/// ``fold(_:)`` and ``finish(_:)`` give numbers to store big-endian.
/// Source: RFC 1071; RFC 1624.
public enum Checksum {
    /// Adds the 16-bit words of `region` to a partial sum.
    ///
    /// `region` begins at an even offset of what is summed; only the last part of several may be
    /// of odd length.
    public static func sum(_ region: ByteRegion, _ initial: UInt64 = 0) -> UInt64 {
        // Half of the bytes go through the integer units, with the carries gathered apart, half
        // through the vector units. Those add 64-bit lanes that wrap, and the upper halves of the
        // same lanes, which do not: the difference tells the sum of the lower halves.
        var first = initial
        var second: UInt64 = 0
        var carries: UInt64 = 0
        var moreCarries: UInt64 = 0
        var lanes = SIMD2<UInt64>()
        var highHalves = SIMD2<UInt64>()
        // Invariant: every load lies in the `left` bytes at `cursor`, which are the rest of region.
        var cursor = unsafe UnsafeRawPointer(region.unsafeStart)
        var left = region.count
        while left >= 64 {
            unsafe accumulate(word(cursor, 0), into: &first, carries: &carries)
            unsafe accumulate(word(cursor, 8), into: &second, carries: &moreCarries)
            unsafe accumulate(word(cursor, 16), into: &first, carries: &carries)
            unsafe accumulate(word(cursor, 24), into: &second, carries: &moreCarries)
            let pair = unsafe cursor.loadUnaligned(fromByteOffset: 32, as: SIMD2<UInt64>.self)
            let next = unsafe cursor.loadUnaligned(fromByteOffset: 48, as: SIMD2<UInt64>.self)
            lanes = lanes &+ pair &+ next
            highHalves = highHalves &+ (pair &>> 32) &+ (next &>> 32)
            unsafe cursor += 64
            left &-= 64
        }
        let lowHalves = lanes &- (highHalves &<< 32)
        let halves = lowHalves &+ highHalves
        carries &+= moreCarries &+ halves[0] &+ halves[1]
        while left >= 8 {
            unsafe accumulate(word(cursor, 0), into: &first, carries: &carries)
            unsafe cursor += 8
            left &-= 8
        }
        if left > 0 {
            unsafe accumulate(partialWord(cursor, count: left), into: &second, carries: &carries)
        }
        return add(add(first, second), carries)
    }

    /// The sum of two partial sums.
    @inlinable @inline(__always)
    public static func add(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (sum, carry) = left.addingReportingOverflow(right)
        return sum &+ (carry ? 1 : 0)
    }

    /// A partial sum as 16 bits, to be stored big-endian.
    @inlinable @inline(__always)
    public static func fold(_ sum: UInt64) -> UInt16 {
        let halves = (sum & 0xffff_ffff) &+ (sum >> 32)
        let quarters = (halves & 0xffff) &+ (halves >> 16 & 0xffff) &+ (halves >> 32)
        let folded = (quarters & 0xffff) &+ (quarters >> 16)
        return UInt16(truncatingIfNeeded: folded &+ (folded >> 16)).bigEndian
    }

    /// The checksum itself: the complement of the folded sum, to be stored big-endian.
    @inlinable @inline(__always)
    public static func finish(_ sum: UInt64) -> UInt16 { ~fold(sum) }

    /// A partial sum of one 16-bit number in network order.
    @inlinable @inline(__always)
    public static func sum(of number: UInt16) -> UInt64 { UInt64(number.bigEndian) }

    /// The pseudo header that TCP and UDP cover: addresses, protocol and length.
    ///
    /// - Parameter transportCount: Transport header and payload in bytes, at most 65,535.
    /// Source: RFC 9293, section 3.1; RFC 8200, section 8.1.
    @inlinable
    public static func pseudoHeader(
        of packet: IPPacket, protocol number: UInt8, transportCount: Int
    ) -> UInt64 {
        pseudoHeader(
            addressesOf: packet.region, isIPv4: packet.version == 4, protocol: number,
            transportCount: transportCount)
    }

    /// The same for a packet known to be at least as long as its version's IP header.
    @inlinable @inline(__always)
    static func pseudoHeader(
        addressesOf region: ByteRegion, isIPv4: Bool, protocol number: UInt8, transportCount: Int
    ) -> UInt64 {
        var total = sum(of: UInt16(number))
        total &+= sum(of: UInt16(truncatingIfNeeded: transportCount))
        if isIPv4 {
            total &+= UInt64(region.bigEndian32(at: IPv4Field.source).bigEndian)
            total &+= UInt64(region.bigEndian32(at: IPv4Field.destination).bigEndian)
            return total
        }
        total = add(total, region.bigEndian64(at: IPv6Field.source).bigEndian)
        total = add(total, region.bigEndian64(at: IPv6Field.source &+ 8).bigEndian)
        total = add(total, region.bigEndian64(at: IPv6Field.destination).bigEndian)
        return add(total, region.bigEndian64(at: IPv6Field.destination &+ 8).bigEndian)
    }

    /// Whether a region that contains its own checksum sums up to nothing.
    @inlinable
    public static func verify(_ region: ByteRegion, _ initial: UInt64 = 0) -> Bool {
        fold(sum(region, initial)) == 0xffff
    }

    /// Whether the TCP, UDP or ICMPv6 checksum of a whole packet is right.
    ///
    /// An IPv4 UDP packet without checksum (zero) is not taken for right.
    public static func verifyTransport(of packet: IPPacket) -> Bool {
        guard packet.hasTransport, !packet.isFragment else { return false }
        let transport = packet.transport
        if packet.protocol == IPProtocol.udp {
            guard transport.count >= UDPField.headerCount,
                transport.bigEndian16(at: UDPField.checksum) != 0
            else { return false }
        }
        let initial = pseudoHeader(
            of: packet, protocol: packet.protocol, transportCount: transport.count)
        return verify(transport, initial)
    }

    /// The checksum after one of the words it covers has changed.
    ///
    /// Source: RFC 1624, equation 3.
    @inlinable @inline(__always)
    public static func updated(
        _ checksum: UInt16, replacing old: UInt16, with new: UInt16
    ) -> UInt16 {
        let total = UInt32(~checksum) &+ UInt32(~old) &+ UInt32(new)
        let folded = (total & 0xffff) &+ (total >> 16)
        return ~UInt16(truncatingIfNeeded: folded &+ (folded >> 16))
    }
}

extension Checksum {
    @unsafe @inline(__always)
    private static func word(_ start: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        unsafe start.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    @inline(__always)
    private static func accumulate(
        _ word: UInt64, into sum: inout UInt64, carries: inout UInt64
    ) {
        let (result, carry) = sum.addingReportingOverflow(word)
        sum = result
        carries &+= carry ? 1 : 0
    }

    /// The last 1 to 7 bytes, as if zeros followed them.
    @unsafe @inline(__always)
    private static func partialWord(_ start: UnsafeRawPointer, count: Int) -> UInt64 {
        var bytes: UInt64 = 0
        var index = 0
        if count & 4 != 0 {
            bytes = UInt64(
                UInt32(littleEndian: unsafe start.loadUnaligned(as: UInt32.self)))
            index = 4
        }
        if count & 2 != 0 {
            let pair = unsafe start.loadUnaligned(fromByteOffset: index, as: UInt16.self)
            bytes |= UInt64(UInt16(littleEndian: pair)) << UInt64(index &* 8)
            index &+= 2
        }
        if count & 1 != 0 {
            let byte = unsafe start.load(fromByteOffset: index, as: UInt8.self)
            bytes |= UInt64(byte) << UInt64(index &* 8)
        }
        return UInt64(littleEndian: bytes)
    }
}
