import PacketMemory

/// How a frame is cut, and the header fields that differ from packet to packet.
///
/// Small on purpose: it is made and copied for every frame.
struct SegmentLayout {
    enum Kind: UInt8 {
        /// One packet that is already complete.
        case whole
        /// One packet whose checksum is still to be filled in.
        case checksum
        case tcp
        case udp
    }

    private(set) var kind: Kind = .whole
    private var isIPv4 = false
    private var flags: UInt8 = 0
    private var identification: UInt16 = 0
    private var segmentCountWord: UInt16 = 1
    private var segmentSizeWord: UInt16 = 0
    private var headerCountWord: UInt16 = 0
    private var transportOffsetWord: UInt16 = 0
    private var checksumOffsetWord: UInt16 = 0
    /// Folded sum of the IPv4 header without length, identification and checksum.
    private var headerSum: UInt16 = 0
    /// Folded sum of the pseudo header without the length.
    private var pseudoSum: UInt16 = 0
    private var sequence: UInt32 = 0
    /// The first four bytes of the IP header, without IPv4's length.
    private var firstWord: UInt32 = 0

    /// A bound on what one frame can cost: 64 KiB in segments of 64 bytes.
    static var segmentsMax: Int { 1_024 }
    /// What may be repeated before each payload: IPv6 and TCP with options, and as much again and
    /// more of extension headers.
    static var headerCountMax: Int { 256 }

    /// One complete packet.
    init() {}

    var segmentCount: Int { Int(segmentCountWord) }
    /// Payload bytes of every packet but the last; 0 for a frame that is one packet.
    var segmentSize: Int { Int(segmentSizeWord) }
    /// IP and transport header; 0 for a frame that is one packet.
    var headerCount: Int { Int(headerCountWord) }
    /// Where the transport header begins; for `.checksum` where summing begins.
    private var transportOffset: Int { Int(transportOffsetWord) }
    /// Offset of the checksum field in the packet.
    private var checksumOffset: Int { Int(checksumOffsetWord) }
}

extension SegmentLayout {
    /// Becomes the layout that a frame's header describes.
    ///
    /// - Parameter packet: The view of the frame.
    /// - Parameter frameCount: The frame's size in bytes, at most 65,535.
    /// - Returns: What is wrong with the frame; `nil` if it can be cut.
    mutating func read(
        _ header: VirtioNetHeader, _ packet: IPPacket, frameCount: Int
    ) -> FrameFault? {
        switch header.gsoType & ~VirtioNetHeader.gsoECNBit {
        case VirtioNetHeader.gsoNone:
            return header.needsChecksum ? readPlain(header, packet) : nil
        case VirtioNetHeader.gsoTCPv4 where packet.version == 4,
            VirtioNetHeader.gsoTCPv6 where packet.version == 6:
            return readCut(.tcp, header, packet, frameCount)
        case VirtioNetHeader.gsoUDPL4:
            return readCut(.udp, header, packet, frameCount)
        case VirtioNetHeader.gsoTCPv4, VirtioNetHeader.gsoTCPv6:
            return .wrongHeaders
        default:
            return .unknownSegmentation
        }
    }

    private mutating func readPlain(
        _ header: VirtioNetHeader, _ packet: IPPacket
    ) -> FrameFault? {
        let start = Int(header.checksumStart)
        let field = start &+ Int(header.checksumOffset)
        guard start >= packet.headerCount, field &+ 2 <= packet.totalCount
        else { return .checksumOutside }
        kind = .checksum
        transportOffsetWord = header.checksumStart
        checksumOffsetWord = UInt16(truncatingIfNeeded: field)
        return nil
    }

    private mutating func readCut(
        _ kind: Kind, _ header: VirtioNetHeader, _ packet: IPPacket, _ frameCount: Int
    ) -> FrameFault? {
        guard header.gsoSize > 0 else { return .segmentSizeZero }
        guard packet.totalCount == frameCount else { return .lengthMismatch }
        guard !packet.isFragment else { return .fragment }
        let number = kind == .tcp ? IPProtocol.tcp : IPProtocol.udp
        let field = kind == .tcp ? TCPField.checksum : UDPField.checksum
        // The header length that the frame comes with is not looked at: for forwarded packets the
        // kernel gives the first packet's length instead.
        guard packet.hasTransport, packet.protocol == number,
            Int(header.checksumStart) == packet.transportOffset,
            Int(header.checksumOffset) == field
        else { return .wrongHeaders }
        let transport = packet.transport
        var transportHeaderCount = UDPField.headerCount
        if kind == .tcp {
            guard transport.count >= TCPField.headerCountMin else { return .truncated }
            transportHeaderCount = Int(transport[TCPField.dataOffset] >> 4) &* 4
            guard transportHeaderCount >= TCPField.headerCountMin else { return .wrongHeaders }
        }
        guard transportHeaderCount < transport.count else { return .truncated }
        guard packet.transportOffset &+ transportHeaderCount <= Self.headerCountMax
        else { return .wrongHeaders }
        let payload = transport.count &- transportHeaderCount
        let segments = (payload &+ Int(header.gsoSize) &- 1) / Int(header.gsoSize)
        guard segments <= Self.segmentsMax else { return .tooManySegments }

        self.kind = kind
        segmentSizeWord = header.gsoSize
        segmentCountWord = UInt16(truncatingIfNeeded: segments)
        transportOffsetWord = header.checksumStart
        headerCountWord = header.checksumStart &+ UInt16(truncatingIfNeeded: transportHeaderCount)
        checksumOffsetWord = header.checksumStart &+ header.checksumOffset
        keepFields(packet)
        return nil
    }

    /// Makes TCP segments smaller.
    ///
    /// - Parameters:
    ///   - byteCount: The most that a packet may have, headers included.
    ///   - frameCount: The frame's size in bytes.
    /// - Returns: `false`, and nothing has changed, for what is not TCP, for headers that leave no
    ///   room, for more segments than a frame may have, and for segments that are smaller already.
    mutating func shorten(to byteCount: Int, frameCount: Int) -> Bool {
        let size = byteCount &- headerCount
        guard kind == .tcp, size > 0, size <= segmentSize else { return false }
        let segments = (frameCount &- headerCount &+ size &- 1) / size
        guard segments <= Self.segmentsMax else { return false }
        segmentSizeWord = UInt16(truncatingIfNeeded: size)
        segmentCountWord = UInt16(truncatingIfNeeded: segments)
        return true
    }

    private mutating func keepFields(_ packet: IPPacket) {
        let region = packet.region
        if kind == .tcp {
            sequence = packet.transport.bigEndian32(at: TCPField.sequence)
            flags = packet.transport[TCPField.flags]
        }
        let pseudo = Checksum.pseudoHeader(
            of: packet, protocol: packet.protocol, transportCount: 0)
        pseudoSum = Checksum.fold(pseudo)
        firstWord = region.bigEndian32(at: 0)
        guard packet.version == 4 else { return }
        isIPv4 = true
        firstWord &= 0xffff_0000
        identification = region.bigEndian16(at: IPv4Field.identification)
        let rest = region.region(
            at: IPv4Field.source, count: packet.headerCount &- IPv4Field.source)
        let beginning =
            Checksum.sum(of: region.bigEndian16(at: 0))
            &+ Checksum.sum(of: region.bigEndian16(at: IPv4Field.fragment))
            &+ Checksum.sum(of: region.bigEndian16(at: IPv4Field.timeToLive))
        headerSum = Checksum.fold(Checksum.sum(rest, beginning))
    }
}

extension SegmentLayout {
    /// Fills in the checksum of a plain packet, whose field holds the pseudo header's sum.
    func completeChecksum(_ packet: ByteRegion) {
        let sum = Checksum.finish(Checksum.sum(packet.region(from: transportOffset)))
        // Zero means "none" in UDP, and its twin is as good elsewhere.
        packet.storeBigEndian(sum == 0 ? 0xffff : sum, at: checksumOffset)
    }

    /// Puts packet `index`'s headers before its payload.
    ///
    /// - Parameter previous: Where the packet before it begins; not looked at for the first.
    /// - Parameter packet: The packet's place in `frame`, exactly its size.
    @inline(__always)
    func writeHeader(index: Int, previous: Int, packet: ByteRegion, in frame: ByteRegion) {
        if index > 0 {
            packet.copy(from: frame.region(at: previous, count: headerCount))
        }
        let transportCount = packet.count &- transportOffset
        if isIPv4 {
            writeIPv4Header(index, packet)
        } else {
            packet.storeBigEndian(firstWord, at: 0)
            packet.storeBigEndian(
                UInt16(truncatingIfNeeded: packet.count &- IPv6Field.headerCount),
                at: IPv6Field.payloadLength)
        }
        if kind == .tcp {
            writeTCPFields(index, packet)
        } else {
            packet.storeBigEndian(
                UInt16(truncatingIfNeeded: transportCount),
                at: transportOffset &+ UDPField.length)
        }
        packet.storeBigEndian(UInt16(0), at: checksumOffset)
        let initial =
            Checksum.sum(of: pseudoSum)
            &+ Checksum.sum(of: UInt16(truncatingIfNeeded: transportCount))
        let sum = Checksum.finish(Checksum.sum(packet.region(from: transportOffset), initial))
        packet.storeBigEndian(sum == 0 ? 0xffff : sum, at: checksumOffset)
    }

    @inline(__always)
    private func writeIPv4Header(_ index: Int, _ packet: ByteRegion) {
        let count = UInt16(truncatingIfNeeded: packet.count)
        let number = identification &+ UInt16(truncatingIfNeeded: index)
        packet.storeBigEndian(firstWord | UInt32(count), at: 0)
        packet.storeBigEndian(number, at: IPv4Field.identification)
        let sum =
            Checksum.sum(of: headerSum) &+ Checksum.sum(of: count) &+ Checksum.sum(of: number)
        packet.storeBigEndian(Checksum.finish(sum), at: IPv4Field.checksum)
    }

    /// The sequence number advances; CWR belongs to the first packet, PSH and FIN to the last.
    @inline(__always)
    private func writeTCPFields(_ index: Int, _ packet: ByteRegion) {
        packet.storeBigEndian(
            sequence &+ UInt32(truncatingIfNeeded: index &* segmentSize),
            at: transportOffset &+ TCPField.sequence)
        var flags = flags
        if index > 0 { flags &= ~TCPField.cwr }
        if index &+ 1 < segmentCount { flags &= ~(TCPField.psh | TCPField.fin) }
        packet[transportOffset &+ TCPField.flags] = flags
    }
}
