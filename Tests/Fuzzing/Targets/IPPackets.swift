import PacketFormats
import PacketMemory

/// Inner packets on their way through the views, the segmenter, the coalescer and the ICMP answers.
///
/// Claims: nothing traps and nothing is written beside what was lent; what the segmenter cuts are
/// whole packets that carry the frame's payload; what the coalescer merges comes out byte for byte
/// when it is cut again, in order within each flow.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzIPPackets(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    switch input.byte() % 3 {
    case 0: viewPacket(&input)
    case 1: segmentFrame(&input)
    default: coalescePackets(&input)
    }
    return 0
}

// MARK: - Views and answers

private func viewPacket(_ input: inout FuzzInput) {
    let outer = ECN(trafficClass: input.byte())
    let room = input.uint16() % 1400
    let bytes = input.rest()
    ByteArena.withCopy(of: bytes) { region in
        _ = flowHash(of: region)
        _ = WireGuardMessage.type(of: region)
        let answer = ByteArena(count: max(room, 1))
        let written = ICMPUnreachable.build(
            for: region, from: IPAddress(ipv4: 0x0A00_0001), into: answer.whole.prefix(room))
        claim(written <= room, "the answer is longer than its room")
        if written > 0 {
            claim(
                IPPacket(answer.whole.prefix(written))?.totalCount == written,
                "the answer is not a packet")
        }
        claim(region.bytes == bytes, "building an answer changed the packet")
        guard let packet = IPPacket(region) else { return }
        claim(packet.transportOffset <= packet.totalCount, "the transport lies behind the packet")
        _ = (packet.source, packet.destination, packet.ecn, packet.trafficClass)
        _ = packet.transport.count
        switch ECN.decapsulate(inner: packet.ecn, outer: outer) {
        case .keep, .drop: break
        default:
            if packet.markCE() { claim(packet.ecn == .ce, "a marked packet bears no mark") }
        }
    }
}

// MARK: - Segmentation

private func segmentFrame(_ input: inout FuzzInput) {
    let paddingLimit = input.uint16()
    let headerBytes = input.take(VirtioNetHeader.count)
    guard headerBytes.count == VirtioNetHeader.count else { return }
    let header = ByteArena.withCopy(of: headerBytes) { VirtioNetHeader(reading: $0) }
    let frameBytes = input.rest()
    let room = 16
    let arena = ByteArena(count: max(frameBytes.count + room, 1))
    arena.whole.write(frameBytes)
    let frame = arena.whole.prefix(frameBytes.count)
    guard
        case .segmenter(var segmenter) = Segmenter.make(
            header: header, frame: frame, capacityAfter: room, paddingLimit: paddingLimit)
    else {
        claim(frame.bytes == frameBytes, "a refused frame was changed")
        return
    }
    let expected = segmenter.segmentCount
    let wireCount = segmenter.wireCount
    var (segments, wire) = (0, 0)
    while let packet = segmenter.next() {
        let count = segmenter.lastPacketCount
        claim(IPPacket(packet.prefix(count))?.totalCount == count, "a segment is not a packet")
        claim(packet.count % 16 == 0 || packet.count == max(paddingLimit, count), "wrong padding")
        claim(packet.region(from: count).bytes.allSatisfy { $0 == 0 }, "padding is not zero")
        segments += 1
        wire += packet.count + WireGuardMessage.TransportData.overhead
        claim(segments <= expected, "more segments than announced")
    }
    claim(segments == expected && wire == wireCount, "the sizes were announced wrongly")
}

// MARK: - Coalescing

private func coalescePackets(_ input: inout FuzzInput) {
    let packets = readPackets(&input)
    let stride = VirtioNetHeader.count + packetBytesMax
    let arena = ByteArena(count: max(packets.count, 1) * stride)
    var coalescer = Coalescer(packetCapacity: max(packets.count, 1))
    for (index, packet) in packets.enumerated() {
        let place = arena.whole.region(at: index * stride, count: stride)
        let region = place.region(at: VirtioNetHeader.count, count: packet.count)
        region.write(packet)
        claim(coalescer.add(region), "a packet within the capacity is refused")
    }
    var recut: [[UInt8]] = []
    for run in 0..<coalescer.runCount {
        recut += cut(coalescer.prepare(run: run), segments: coalescer.segmentCount(ofRun: run))
    }
    claim(recut.count == packets.count, "packets got lost or doubled")
    claim(byFlow(recut) == byFlow(packets), "a flow's packets changed")
    coalescer.reset()
    claim(coalescer.runCount == 0 && coalescer.packetCount == 0, "reset left something")
}

/// Each packet is a size and its bytes, or a copy of the one before moved on in its flow.
private func readPackets(_ input: inout FuzzInput) -> [[UInt8]] {
    var packets: [[UInt8]] = []
    while !input.isAtEnd, packets.count < packetCountMax {
        let choice = input.byte()
        var packet: [UInt8]
        if choice & 1 == 1, let last = packets.last {
            packet = advanced(last, by: choice, &input)
        } else {
            packet = input.take(input.uint16() % packetBytesMax)
        }
        if choice & 2 == 0 { repairChecksums(&packet) }
        packets.append(packet)
    }
    return packets
}

/// A copy of a packet, its TCP sequence moved by its payload, with a few bytes changed.
private func advanced(_ last: [UInt8], by choice: UInt8, _ input: inout FuzzInput) -> [UInt8] {
    var packet = last
    let parts = ByteArena.withCopy(of: last) { region -> (Int, Int)? in
        guard let view = IPPacket(region), view.hasTransport, view.protocol == 6,
            view.totalCount - view.transportOffset >= 20
        else { return nil }
        let header = Int(region[view.transportOffset + 12] >> 4) * 4
        return (view.transportOffset, view.totalCount - view.transportOffset - header)
    }
    if let (offset, payload) = parts, payload >= 0 {
        var sequence: UInt32 = 0
        for index in 4..<8 { sequence = sequence << 8 | UInt32(packet[offset + index]) }
        sequence &+= UInt32(payload)
        for index in 0..<4 {
            packet[offset + 4 + index] = UInt8(
                truncatingIfNeeded: sequence >> UInt32(24 - 8 * index))
        }
    }
    if choice & 4 != 0, !packet.isEmpty { packet[input.uint16() % packet.count] ^= input.byte() }
    if choice & 8 != 0 { shorten(&packet, by: Int(input.byte())) }
    return packet
}

/// Cuts the end off and makes the length fields agree.
private func shorten(_ packet: inout [UInt8], by amount: Int) {
    guard packet.count > 48 + amount else { return }
    packet.removeLast(amount)
    let isIPv4 = packet[0] >> 4 == 4
    let length = isIPv4 ? packet.count : packet.count - 40
    packet[isIPv4 ? 2 : 4] = UInt8(length >> 8)
    packet[isIPv4 ? 3 : 5] = UInt8(length & 0xFF)
    let transport = isIPv4 ? Int(packet[0] & 15) * 4 : 40
    guard packet[isIPv4 ? 9 : 6] == 17, packet.count >= transport + 8 else { return }
    packet[transport + 4] = UInt8((packet.count - transport) >> 8)
    packet[transport + 5] = UInt8((packet.count - transport) & 0xFF)
}

/// Random checksums are never right, and what is wrong is never merged.
private func repairChecksums(_ packet: inout [UInt8]) {
    guard packet.count >= 20 else { return }
    let isIPv4 = packet[0] >> 4 == 4
    let transport = isIPv4 ? Int(packet[0] & 15) * 4 : 40
    guard transport >= 20, packet.count >= transport + 8 else { return }
    if isIPv4 {
        packet[10] = 0
        packet[11] = 0
        store(onesComplement(packet[..<transport]), &packet, 10)
    }
    let kind = packet[isIPv4 ? 9 : 6]
    let field = transport + (kind == 6 ? 16 : 6)
    guard kind == 6 || kind == 17, packet.count >= field + 2 else { return }
    let count = packet.count - transport
    packet[field] = 0
    packet[field + 1] = 0
    let pseudo =
        Array(packet[isIPv4 ? 12..<20 : 8..<40])
        + [0, 0, UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF), 0, 0, 0, kind]
    let sum = onesComplement((pseudo + packet[transport...])[...])
    store(kind == 17 && sum == 0 ? 0xFFFF : sum, &packet, field)
}

/// The checksum of RFC 1071, written plainly to be an independent witness.
private func onesComplement(_ bytes: ArraySlice<UInt8>) -> UInt16 {
    var sum: UInt32 = 0
    for (offset, byte) in bytes.enumerated() {
        sum += offset % 2 == 0 ? UInt32(byte) << 8 : UInt32(byte)
        sum = (sum & 0xFFFF) + (sum >> 16)
    }
    return ~UInt16(sum)
}

private func store(_ value: UInt16, _ packet: inout [UInt8], _ offset: Int) {
    packet[offset] = UInt8(value >> 8)
    packet[offset + 1] = UInt8(value & 0xFF)
}

/// What the kernel, and our own sending side, make of one write.
private func cut(_ regions: RegionList, segments: Int) -> [[UInt8]] {
    let bytes = (0..<regions.count).flatMap { regions[$0].bytes }
    let header = ByteArena.withCopy(of: bytes) { VirtioNetHeader(reading: $0) }
    let frameBytes = Array(bytes.dropFirst(VirtioNetHeader.count))
    if segments == 1 {
        claim(header == VirtioNetHeader(), "a single packet has a header")
        return [frameBytes]
    }
    claim(frameBytes.count <= 65_535, "a run is too long")
    let arena = ByteArena(count: frameBytes.count + 16)
    arena.whole.write(frameBytes)
    guard
        case .segmenter(var segmenter) = Segmenter.make(
            header: header, frame: arena.whole.prefix(frameBytes.count), capacityAfter: 16,
            paddingLimit: 0)
    else {
        claim(false, "a run cannot be cut: \(header)")
        return []
    }
    claim(segmenter.segmentCount == segments, "a run is cut into another number of packets")
    var packets: [[UInt8]] = []
    while let packet = segmenter.next() {
        packets.append(packet.prefix(segmenter.lastPacketCount).bytes)
    }
    return packets
}

/// The packets of each flow, in order.
private func byFlow(_ packets: [[UInt8]]) -> [UInt32: [[UInt8]]] {
    Dictionary(grouping: packets) { packet in
        ByteArena.withCopy(of: packet) { flowHash(of: $0) }
    }.mapValues { flow in flow.map(comparable) }
}

/// The packet without what may come out differently: the IPv4 identification and header checksum,
/// numbered anew where DF is set, and which of its two zeros TCP's checksum has.
private func comparable(_ packet: [UInt8]) -> [UInt8] {
    guard packet.count >= 20 else { return packet }
    var packet = packet
    let isIPv4 = packet[0] >> 4 == 4
    if isIPv4, packet[6] & 0x40 != 0 {
        for offset in [4, 5, 10, 11] { packet[offset] = 0 }
    }
    let field = (isIPv4 ? Int(packet[0] & 15) * 4 : 40) + 16
    let isTCP = packet[isIPv4 ? 9 : 6] == 6
    if isTCP, packet.count >= field + 2, packet[field] == 0xFF, packet[field + 1] == 0xFF {
        packet[field] = 0
        packet[field + 1] = 0
    }
    return packet
}

private let packetBytesMax = 2048
private let packetCountMax = 160
