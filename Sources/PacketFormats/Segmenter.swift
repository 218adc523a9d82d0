public import PacketMemory

/// Cuts one frame of a TUN device into inner packets ready for encryption, in ascending order.
///
/// A frame is a plain packet, or one set of TCP or UDP headers before the payload of many packets.
/// Packet i's payload already lies at i × segment size + header size, so its header is written
/// directly before it, over the end of payload i - 1. A packet is therefore consumed (encrypted to
/// somewhere else) before the next is asked for. Its IP header may be marked on the way; its
/// transport header is what the next one is made of.
public struct Segmenter {
    /// DSCP and ECN of the frame, and so of each of its packets.
    public let trafficClass: UInt8
    private var isSaved = false
    private var index: Int32 = 0
    private let paddingLimit: Int32
    private var lastCount: Int32 = 0
    private var layout = SegmentLayout()
    /// The packet and the writable bytes after it.
    private let bytes: ByteRegion
    /// The 16 bytes that padding took the place of.
    private var savedOffset: Int32 = 0
    private var savedLow: UInt64 = 0
    private var savedHigh: UInt64 = 0

    public enum Outcome {
        case segmenter(Segmenter)
        case invalid(FrameFault)
    }

    /// Checks a frame's header against its bytes; nothing is written yet.
    ///
    /// - Parameter frame: Exactly the frame, followed in memory by `capacityAfter` writable bytes.
    /// - Parameter capacityAfter: At least 16.
    /// - Parameter paddingLimit: The device's MTU: padding never makes a packet longer than this.
    public static func make(
        header: VirtioNetHeader, frame: ByteRegion, capacityAfter: Int, paddingLimit: Int
    ) -> Outcome {
        guard capacityAfter >= paddingRoom
        else { return .invalid(.noRoomForPadding) }
        guard frame.count <= UInt16.max else { return .invalid(.tooLong) }
        guard let packet = IPPacket(frame) else { return .invalid(.notIP) }
        var segmenter = Segmenter(packet: packet, paddingLimit: paddingLimit)
        if let fault = segmenter.layout.read(header, packet, frameCount: frame.count) {
            return .invalid(fault)
        }
        return .segmenter(segmenter)
    }

    private init(packet: IPPacket, paddingLimit: Int) {
        self.paddingLimit = Int32(truncatingIfNeeded: max(0, min(paddingLimit, 65_535)))
        trafficClass = packet.trafficClass
        // Invariant: `make` was told that this many bytes after the frame are writable; a packet
        // shorter than its frame has them all the more.
        unsafe bytes = ByteRegion(
            start: packet.region.unsafeStart, count: packet.totalCount &+ Self.paddingRoom)
    }

    /// The most packets that a frame may yield.
    public static var segmentCountMax: Int { SegmentLayout.segmentsMax }
    /// The most bytes of headers that a packet may have.
    public static var headerCountMax: Int { SegmentLayout.headerCountMax }
    /// How many packets the frame yields, at least 1.
    public var segmentCount: Int { layout.segmentCount }

    /// The last packet's size in bytes without its padding; 0 before the first ``next()``.
    public var lastPacketCount: Int { Int(lastCount) }

    /// ECN of the frame, from which the outer header's is made.
    @inlinable public var trafficClassECN: ECN { ECN(trafficClass: trafficClass) }

    /// The first packet's size in bytes without padding; no other is larger.
    public var firstPacketCount: Int { packetCount(0) }

    /// Cuts the frame into packets of at most `byteCount` bytes: a TCP sender's segments may be
    /// divided, its window and sequence numbers count bytes.
    ///
    /// Call before the first ``next()``.
    /// - Returns: `false` where the frame cannot be cut like that; it is as before then.
    public mutating func shorten(to byteCount: Int) -> Bool {
        layout.shorten(to: byteCount, frameCount: frameCount)
    }

    /// What all packets together come to as WireGuard messages: padding, headers and tags included.
    public var wireCount: Int {
        let last = segmentCount &- 1
        return paddedCount(packetCount(0)) &* last &+ paddedCount(packetCount(last))
            &+ WireGuardMessage.TransportData.overhead &* segmentCount
    }

    /// The next packet, complete with headers and checksums and followed by zeros.
    ///
    /// - Returns: The packet with its padding to a multiple of 16 bytes (see ``lastPacketCount``),
    ///   or `nil` after the last one. It is valid until the next call.
    /// - Complexity: O(length) for the checksum.
    public mutating func next() -> ByteRegion? {
        let number = Int(index)
        guard number < layout.segmentCount else { return nil }
        restorePayload()
        let offset = number &* layout.segmentSize
        let count = packetCount(number)
        switch layout.kind {
        case .whole: break
        case .checksum: layout.completeChecksum(bytes.prefix(frameCount))
        case .tcp, .udp:
            layout.writeHeader(
                index: number, previous: offset &- layout.segmentSize,
                packet: bytes.region(at: offset, count: count), in: bytes)
        }
        index &+= 1
        lastCount = Int32(truncatingIfNeeded: count)
        let padded = paddedCount(count)
        if padded > count {
            pad(from: offset &+ count, isLast: number &+ 1 == layout.segmentCount)
        }
        return bytes.region(at: offset, count: padded)
    }
}

extension Segmenter {
    private static var paddingRoom: Int { WireGuardMessage.TransportData.paddingMultiple }

    @inline(__always)
    private var frameCount: Int { bytes.count &- Self.paddingRoom }

    @inline(__always)
    private func packetCount(_ index: Int) -> Int {
        let size = layout.segmentSize
        return size == 0
            ? frameCount : min(frameCount &- index &* size, layout.headerCount &+ size)
    }

    @inline(__always)
    private func paddedCount(_ count: Int) -> Int {
        WireGuardMessage.TransportData.paddedCount(count, limit: Int(paddingLimit))
    }

    /// Zeros 16 bytes, which may be the beginning of the next payload; at most 15 are needed, but
    /// two stores are cheaper than a loop.
    @inline(__always)
    private mutating func pad(from offset: Int, isLast: Bool) {
        if !isLast {
            isSaved = true
            savedOffset = Int32(truncatingIfNeeded: offset)
            savedLow = bytes.littleEndian64(at: offset)
            savedHigh = bytes.littleEndian64(at: offset &+ 8)
        }
        bytes.storeLittleEndian(UInt64(0), at: offset)
        bytes.storeLittleEndian(UInt64(0), at: offset &+ 8)
    }

    @inline(__always)
    private mutating func restorePayload() {
        guard isSaved else { return }
        bytes.storeLittleEndian(savedLow, at: Int(savedOffset))
        bytes.storeLittleEndian(savedHigh, at: Int(savedOffset) &+ 8)
        isSaved = false
    }
}
