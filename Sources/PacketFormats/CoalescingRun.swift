import PacketMemory

/// Packets of one flow that go to the TUN device in one write.
struct CoalescingRun {
    let head: ByteRegion
    /// What the head is; every other packet is the same.
    let shape: CoalescingCandidate
    /// Payload bytes of every packet but the last.
    let segmentSize: Int
    /// IP header and all payloads in bytes.
    var totalCount: Int
    var segmentCount = 1
    /// The payloads after the head's, as a list in the coalescer's links.
    var firstLink = -1
    var lastLink = -1
    var nextSequence: UInt32
    var nextIdentification: UInt16
    var endsWithPush = false
    var isHeadVerified = false

    /// What one write to a TUN device may hold: linux/udp.h, UDP_MAX_SEGMENTS.
    static var segmentsMax: Int { 128 }
    static var totalCountMax: Int { 65_535 }

    @inline(__always)
    init(head: ByteRegion, shape: CoalescingCandidate) {
        self.head = head
        self.shape = shape
        totalCount = head.count
        guard shape.group == .mergeable else {
            segmentSize = 0
            nextSequence = 0
            nextIdentification = 0
            return
        }
        segmentSize = head.count &- shape.headerCount
        nextSequence =
            shape.isTCP
            ? head.bigEndian32(at: shape.ipCount &+ TCPField.sequence)
                &+ UInt32(truncatingIfNeeded: segmentSize) : 0
        nextIdentification =
            shape.isIPv4 ? head.bigEndian16(at: IPv4Field.identification) &+ 1 : 0
    }

    @inline(__always)
    func isSameFlow(_ packet: ByteRegion, _ other: CoalescingCandidate) -> Bool {
        shape.isIPv4 == other.isIPv4 && shape.isTCP == other.isTCP
            && head.littleEndian32(at: shape.ipCount) == packet.littleEndian32(at: shape.ipCount)
            && Self.haveSameAddresses(head, packet, isIPv4: shape.isIPv4)
    }

    /// - Parameter isIPv4: The version of both packets; both are as long as its header.
    @inline(__always)
    static func haveSameAddresses(_ one: ByteRegion, _ two: ByteRegion, isIPv4: Bool) -> Bool {
        if isIPv4 {
            return one.littleEndian64(at: IPv4Field.source)
                == two.littleEndian64(at: IPv4Field.source)
        }
        var difference: UInt64 = 0
        for offset in stride(from: IPv6Field.source, to: IPv6Field.headerCount, by: 8) {
            difference |= one.littleEndian64(at: offset) ^ two.littleEndian64(at: offset)
        }
        return difference == 0
    }

    /// Whether a mergeable packet of the same flow may follow the last one, checksums aside.
    @inline(__always)
    func precedes(_ packet: ByteRegion, _ other: CoalescingCandidate) -> Bool {
        let payload = packet.count &- other.headerCount
        guard other.headerCount == shape.headerCount, payload <= segmentSize,
            segmentCount < Self.segmentsMax, totalCount &+ payload <= Self.totalCountMax
        else { return false }
        guard shape.isIPv4 ? matchesIPv4(packet) : matchesIPv6(packet) else { return false }
        return !shape.isTCP || matchesTCP(packet)
    }

    /// Same version, header length, DSCP, ECN, DF, time to live; identifications count up, unless
    /// the packet may not be fragmented and so needs none (RFC 6864, section 4.1).
    @inline(__always)
    private func matchesIPv4(_ packet: ByteRegion) -> Bool {
        let fragment = packet.bigEndian16(at: IPv4Field.fragment)
        return packet.bigEndian16(at: 0) == head.bigEndian16(at: 0)
            && fragment == head.bigEndian16(at: IPv4Field.fragment)
            && packet[IPv4Field.timeToLive] == head[IPv4Field.timeToLive]
            && (fragment & IPv4Field.doNotFragment != 0
                || packet.bigEndian16(at: IPv4Field.identification) == nextIdentification)
    }

    /// Same version, DSCP, ECN, flow label, hop limit.
    @inline(__always)
    private func matchesIPv6(_ packet: ByteRegion) -> Bool {
        packet.bigEndian32(at: 0) == head.bigEndian32(at: 0)
            && packet[IPv6Field.hopLimit] == head[IPv6Field.hopLimit]
    }

    /// Next in sequence; same acknowledgment, window, urgent pointer and options.
    @inline(__always)
    private func matchesTCP(_ packet: ByteRegion) -> Bool {
        let start = shape.ipCount
        guard packet.bigEndian32(at: start &+ TCPField.sequence) == nextSequence,
            packet.bigEndian32(at: start &+ TCPField.acknowledgment)
                == head.bigEndian32(at: start &+ TCPField.acknowledgment),
            packet.bigEndian16(at: start &+ TCPField.window)
                == head.bigEndian16(at: start &+ TCPField.window),
            packet.bigEndian16(at: start &+ TCPField.urgentPointer)
                == head.bigEndian16(at: start &+ TCPField.urgentPointer)
        else { return false }
        var offset = start &+ TCPField.headerCountMin
        while offset < shape.headerCount {
            if packet.bigEndian32(at: offset) != head.bigEndian32(at: offset) { return false }
            offset &+= 4
        }
        return true
    }
}

extension CoalescingRun {
    /// Makes the head's headers those of the whole run, and writes what the kernel needs to know
    /// into the bytes before it.
    func writeHeaders(_ virtio: ByteRegion) {
        var header = VirtioNetHeader()
        guard segmentCount > 1 else {
            header.write(to: virtio)
            return
        }
        let start = shape.ipCount
        let transportCount = totalCount &- start
        let field = shape.isTCP ? TCPField.checksum : UDPField.checksum
        header.flags = VirtioNetHeader.needsChecksumFlag
        header.gsoType = shape.gsoType
        header.headerLength = UInt16(truncatingIfNeeded: shape.headerCount)
        header.gsoSize = UInt16(truncatingIfNeeded: segmentSize)
        header.checksumStart = UInt16(truncatingIfNeeded: start)
        header.checksumOffset = UInt16(truncatingIfNeeded: field)
        header.write(to: virtio)

        if shape.isIPv4 {
            head.storeBigEndian(UInt16(truncatingIfNeeded: totalCount), at: IPv4Field.totalLength)
            head.storeBigEndian(UInt16(0), at: IPv4Field.checksum)
            let sum = Checksum.sum(head.prefix(start))
            head.storeBigEndian(Checksum.finish(sum), at: IPv4Field.checksum)
        } else {
            head.storeBigEndian(
                UInt16(truncatingIfNeeded: transportCount), at: IPv6Field.payloadLength)
        }
        if shape.isTCP {
            if endsWithPush { head[start &+ TCPField.flags] |= TCPField.psh }
        } else {
            head.storeBigEndian(
                UInt16(truncatingIfNeeded: transportCount), at: start &+ UDPField.length)
        }
        let pseudo = Checksum.pseudoHeader(
            addressesOf: head, isIPv4: shape.isIPv4,
            protocol: shape.isTCP ? IPProtocol.tcp : IPProtocol.udp,
            transportCount: transportCount)
        head.storeBigEndian(Checksum.fold(pseudo), at: start &+ field)
    }
}
