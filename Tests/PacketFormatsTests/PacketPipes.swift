import PacketFormats
import PacketMemory
import Testing

/// One write to a TUN device.
struct TunFrame: Equatable {
    var header: VirtioNetHeader
    var frame: [UInt8]
    var segmentCount: Int
}

/// Runs packets through a coalescer, each in memory of its own with the headroom it needs.
func coalesce(
    _ packets: [[UInt8]], offloads: CoalescingOffloads = .all, capacity: Int = 512
) -> [TunFrame] {
    let headroom = 32
    let total = packets.reduce(64) { $0 + headroom + $1.count }
    let arena = ByteArena(count: total)
    arena.whole.fill(with: 0xee)
    var coalescer = Coalescer(packetCapacity: capacity, offloads: offloads)
    var frames: [TunFrame] = []
    var offset = headroom
    for packet in packets {
        let region = arena.whole.region(at: offset, count: packet.count)
        for (index, byte) in packet.enumerated() { region[index] = byte }
        offset += packet.count + headroom
        if !coalescer.add(region) {
            frames += flush(&coalescer)
            let isAdded = coalescer.add(region)
            #expect(isAdded)
        }
    }
    frames += flush(&coalescer)
    return withExtendedLifetime(arena) { frames }
}

private func flush(_ coalescer: inout Coalescer) -> [TunFrame] {
    var frames: [TunFrame] = []
    for run in 0..<coalescer.runCount {
        let count = coalescer.segmentCount(ofRun: run)
        let isBulk = coalescer.isBulk(run: run)
        #expect(isBulk == (count > 1))
        let regions = coalescer.prepare(run: run)
        #expect(regions.count == count)
        let header = VirtioNetHeader(reading: regions[0])
        var frame = regions[0].region(from: VirtioNetHeader.count).bytes
        for index in 1..<regions.count { frame += regions[index].bytes }
        frames.append(TunFrame(header: header, frame: frame, segmentCount: count))
    }
    coalescer.reset()
    return frames
}

enum Cut: Equatable {
    case packets([[UInt8]])
    case invalid(FrameFault)
}

/// Cuts a frame, checking padding and surroundings on the way.
///
/// - Parameter limit: The most bytes of a packet, where the frame is to be cut smaller.
/// - Parameter isShortened: Whether that is possible.
func cut(
    _ header: VirtioNetHeader, _ frame: [UInt8], paddingLimit: Int = 1_420, limit: Int? = nil,
    isShortened: Bool = true
) -> Cut {
    let after = 64
    let arena = ByteArena(count: frame.count + after)
    arena.whole.fill(with: 0xcc)
    let region = arena.whole.prefix(frame.count)
    for (index, byte) in frame.enumerated() { region[index] = byte }
    let outcome = Segmenter.make(
        header: header, frame: region, capacityAfter: 16, paddingLimit: paddingLimit)
    guard case .segmenter(var segmenter) = outcome else {
        guard case .invalid(let fault) = outcome else { return .packets([]) }
        return .invalid(fault)
    }
    if let limit {
        let outcome = segmenter.shorten(to: limit)
        #expect(outcome == isShortened, "to \(limit)")
    }
    var packets: [[UInt8]] = []
    var wireCount = 0
    while let padded = segmenter.next() {
        let count = segmenter.lastPacketCount
        if packets.isEmpty { #expect(count == segmenter.firstPacketCount) }
        #expect(count <= segmenter.firstPacketCount)
        #expect(padded.count == min((count + 15) / 16 * 16, max(paddingLimit, count)))
        #expect(padded.bytes[count...].allSatisfy { $0 == 0 })
        packets.append(padded.prefix(count).bytes)
        wireCount += padded.count + 32
        // Marking a packet's IP header must not show in the ones that follow.
        padded[1] = ~padded[1]
    }
    let isAtEnd = segmenter.next() == nil
    #expect(isAtEnd)
    #expect(packets.count == segmenter.segmentCount)
    #expect(wireCount == segmenter.wireCount)
    let behind = arena.whole.region(at: frame.count + 16, count: after - 16).bytes
    #expect(behind.allSatisfy { $0 == 0xcc })
    return withExtendedLifetime(arena) { .packets(packets) }
}
