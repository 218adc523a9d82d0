import LinuxNetworking
import PacketFormats
import PacketMemory

/// One direction of the network: where packets come from, what happens to them, where they go.
struct Direction: ~Copyable {
    private let source: TunQueue
    private let target: TunQueue
    private let headerCount: Int
    private let slotByteCount: Int
    private let slotCount: Int
    private let arena: ByteArena
    /// Slots by number, those used last on top so that few pages are ever touched.
    private var freeSlots: [Int]
    private var waiting: DueHeap
    private var impairments: Impairments
    private(set) var counts = Counts()
    private(set) var lateness = Lateness()

    struct Counts {
        var packetsIn: UInt64 = 0
        var bytesIn: UInt64 = 0
        var packetsOut: UInt64 = 0
        var bytesOut: UInt64 = 0
        /// Lost as asked.
        var lost: UInt64 = 0
        /// Congestion marks set.
        var markedCE: UInt64 = 0
        /// Held back as asked.
        var reordered: UInt64 = 0
        /// More was under way than there are slots.
        var droppedFull: UInt64 = 0
        /// The kernel did not take them.
        var droppedWrite: UInt64 = 0
        /// Multicast of the devices themselves, and what is no IP packet.
        var ignored: UInt64 = 0
        var queuedMax = 0
    }

    init(
        from source: TunDevice, to target: TunDevice, packetByteCountMax: Int, slotCount: Int,
        impairments: Impairments
    ) {
        self.source = source.queues[0]
        self.target = target.queues[0]
        headerCount = source.hasVirtioHeader ? VirtioNetHeader.count : 0
        // Whole cache lines, so that no two packets share one.
        slotByteCount = (headerCount + packetByteCountMax + 63) / 64 * 64
        self.slotCount = slotCount
        arena = ByteArena(count: slotByteCount * (slotCount + 1))
        freeSlots = Array((0..<slotCount).reversed())
        waiting = DueHeap(capacity: slotCount)
        self.impairments = impairments
    }

    var queuedCount: Int { waiting.count }

    /// When the next packet is to leave.
    var nextDue: UInt64? { waiting.first?.due }

    /// Takes packets in.
    ///
    /// - Returns: The error of a device that has gone, else `nil`.
    mutating func takeIn(limit: Int, began: UInt64) -> Int? {
        for _ in 0..<limit {
            // The slot after the last is for what cannot be kept.
            let slot = freeSlots.last ?? slotCount
            let region = arena.whole.region(at: slot * slotByteCount, count: slotByteCount)
            let length = source.read(region)
            if length < 0 { return TunQueue.isDeviceGone(length) ? length : nil }
            guard length > headerCount else { continue }
            take(region.prefix(length), slot: slot, now: Clock.monotonicNanoseconds() - began)
        }
        return nil
    }

    private mutating func take(_ frame: ByteRegion, slot: Int, now: UInt64) {
        guard let packet = IPPacket(frame.region(from: headerCount)), !Self.isMulticast(packet)
        else {
            counts.ignored += 1
            return
        }
        counts.packetsIn += 1
        counts.bytesIn += UInt64(packet.totalCount)
        var isMarked = false
        let fate = impairments.decide(now: now) {
            isMarked = packet.ecn != .ce && packet.markCE()
        }
        switch fate {
        case .lost:
            counts.lost += 1
        case .delivered(let due, let isReordered):
            guard !freeSlots.isEmpty else {
                counts.droppedFull += 1
                return
            }
            freeSlots.removeLast()
            if isMarked { counts.markedCE += 1 }
            if isReordered { counts.reordered += 1 }
            // The kernel has completed the packet: nothing is left to be offloaded.
            frame.prefix(headerCount).fill(with: 0)
            waiting.insert(
                .init(due: due, arrival: counts.packetsIn, slot: slot, byteCount: frame.count))
            counts.queuedMax = max(counts.queuedMax, waiting.count)
        }
    }

    /// Lets go what is due.
    ///
    /// - Returns: The error of a device that has gone, else `nil`.
    mutating func release(limit: Int, began: UInt64) -> Int? {
        for _ in 0..<limit {
            let now = Clock.monotonicNanoseconds() - began
            guard let due = nextDue, due <= now, let entry = waiting.removeFirst() else { return nil }
            lateness.note(nanoseconds: now - due)
            freeSlots.append(entry.slot)
            let frame = arena.whole.region(at: entry.slot * slotByteCount, count: entry.byteCount)
            let written = target.write(frame)
            if TunQueue.isDeviceGone(written) { return written }
            if written < 0 {
                counts.droppedWrite += 1
            } else {
                counts.packetsOut += 1
                counts.bytesOut += UInt64(entry.byteCount - headerCount)
            }
        }
        return nil
    }

    /// 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291, section 2.7).
    private static func isMulticast(_ packet: IPPacket) -> Bool {
        packet.version == 4
            ? packet.destinationIPv4 >> 28 == 0xe : packet.destinationHigh >> 56 == 0xff
    }
}
