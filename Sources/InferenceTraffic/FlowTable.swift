public import PacketFormats
import PacketMemory

/// The flows that one worker sees, of all tunnels: their classes, phases and timings.
///
/// For each packet, in this order, all of it by the worker that owns the table:
/// 1. the flow is found, or takes a place: a free one, that of an ended flow, or the least recently
///    used of the tunnel's own once it has its share (``FlowTable+Members.swift``);
/// 2. payload is placed in its stream: what is new, what was sent again (``Way``);
/// 3. heads are read where a connection shows them (``ScannerPool``);
/// 4. turns, chunks and times advance (``Answer``), and are measured (``MeasureTable``);
/// 5. the class follows from the most trusted of policy, marks, heads, behaviour and size.
///
/// The class belongs to a direction of a flow, and is not lifted above what came before without the
/// scheduler keeping the order. Nothing allocates but the first packet of a tunnel number that is
/// higher than all before.
public struct FlowTable: ~Copyable {
    public let capacity: Int
    /// Flows known now, of all tunnels.
    public internal(set) var count = 0

    let seed: (UInt64, UInt64)
    var entries: GrowingTable<Flow>
    /// The first flow of each hash; -1: none.
    var buckets: FixedTable<Int32>
    let bucketMask: UInt64
    /// Records that were used before; -1: none.
    var firstFree: Int32 = -1
    var tunnels = FixedTable(repeating: TunnelFlows(), count: 16)
    /// Tunnels that have flows.
    var tunnelCount = 0
    /// Of tunnels whose numbers are out of range.
    var strays = UntrackedMeters()
    var scanners: ScannerPool
    var measureTable: MeasureTable

    /// - Parameter capacity: Flows at most; at least 1.
    /// - Parameter seed: Secret, so that nobody outside can choose flows that collide.
    public init(capacity: Int, seed: (UInt64, UInt64)) {
        let capacity = min(max(capacity, 1), Self.capacityMax)
        var bucketCount = 16
        while bucketCount < capacity { bucketCount *= 2 }
        self.capacity = capacity
        self.seed = seed
        entries = GrowingTable(capacity: capacity)
        buckets = FixedTable(repeating: -1, count: bucketCount)
        bucketMask = UInt64(bucketCount - 1)
        let scannerCount = min(
            max(capacity / FlowLimits.scannersPerFlow, FlowLimits.scannersMin),
            FlowLimits.scannersMax)
        scanners = ScannerPool(capacity: scannerCount)
        measureTable = MeasureTable(seed: seed)
    }

    deinit {}

    static let capacityMax = 1 << 24
}

extension FlowTable {
    /// Takes note of a packet, or of a frame of many segments of one flow, and says its class.
    ///
    /// - Parameter packet: Its own DSCP not yet changed.
    /// - Parameter segmentByteCount: Payload bytes of a segment; 0 for a single packet.
    /// - Parameter tunnel: A small number, 0 or more.
    /// - Parameter peer: -1 where it is not known.
    /// - Parameter now: Monotonic nanoseconds.
    public mutating func observe(
        _ packet: IPPacket, segmentByteCount: Int, direction: FlowDirection, tunnel: Int,
        peer: Int32, ceiling: TrafficClass, rules: ClassRules, now: UInt64
    ) -> FlowVerdict {
        guard !packet.isFragment, packet.hasTransport, tunnel >= 0,
            tunnel < FlowLimits.tunnelsMax
        else { return untracked(packet, direction, tunnel, ceiling, rules, now) }
        if packet.protocol == IPProtocol.tcp {
            guard let segment = Segment(packet, segmentByteCount: segmentByteCount)
            else { return untracked(packet, direction, tunnel, ceiling, rules, now) }
            let index = place(packet, direction, tunnel, peer, now)
            return noteSegment(
                segment, of: index, direction, mark: packet.dscp, ceiling, rules, now)
        }
        if packet.protocol == IPProtocol.udp, packet.transport.count >= UDPField.headerCount {
            let index = place(packet, direction, tunnel, peer, now)
            return noteDatagram(
                packet, segmentByteCount, of: index, direction, ceiling, rules, now)
        }
        return untracked(packet, direction, tunnel, ceiling, rules, now)
    }

    @inline(__always)
    private mutating func place(
        _ packet: IPPacket, _ direction: FlowDirection, _ tunnel: Int, _ peer: Int32,
        _ now: UInt64
    ) -> Int {
        let key = FlowKey(packet, direction, tunnel: Int32(truncatingIfNeeded: tunnel))
        let hash = key.hash(seed)
        var index = find(key, hash)
        if index < 0 {
            index = insert(key, hash, direction, peer: peer, now: now)
        } else {
            touch(index, now: now)
            if peer >= 0 { entries[index].peer = peer }
        }
        return index
    }

    private mutating func noteSegment(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, mark: DSCP,
        _ ceiling: TrafficClass, _ rules: ClassRules, _ now: UInt64
    ) -> FlowVerdict {
        entries[index].refresh(rules)
        if segment.isSYN { noteSYN(segment, of: index, direction, now) }
        let isEnd = segment.isEnd && entries[index].mayEnd(segment, direction)
        let byteCount = segment.weight
        var burst: UInt32 = 0
        if segment.payload.count > 0 {
            burst = notePayload(segment, of: index, direction, rules, now)
        } else if byteCount > 0 {
            burst = entries[index].countPayload(0, segment, direction, now: now)
        }
        if isEnd { noteEnd(segment, of: index, direction, now) }
        return verdict(index, direction, byteCount, burst, mark, ceiling, rules, now)
    }

    private mutating func noteSYN(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ now: UInt64
    ) {
        let wasKnown = entries[index].out.bytes | entries[index].in.bytes != 0
        entries[index].noteSYN(segment, direction, now: now)
        if !entries[index].isOver { setRetired(false, index, now: now) }
        // Another connection with the same ports is read from its beginning.
        if wasKnown, entries[index].out.bytes | entries[index].in.bytes == 0 {
            scanners.close(entries[index].scanner)
            entries[index].scanner = .none
        }
    }

    /// - Returns: The bytes of the request, answer or burst before this segment.
    private mutating func notePayload(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ rules: ClassRules,
        _ now: UInt64
    ) -> UInt32 {
        var notes = FlowNotes()
        let byteCount = segment.payload.count
        let arrival = direction == .outbound
            ? entries[index].out.accept(segment.sequence, count: byteCount, now: now)
            : entries[index].in.accept(segment.sequence, count: byteCount, now: now)
        if arrival.isRetransmission {
            notes.retransmissions = UInt32(truncatingIfNeeded: segment.count)
        }
        if arrival.newByteCount > 0 {
            if entries[index].reopen(segment, direction, arrival) {
                setRetired(false, index, now: now)
            }
            entries[index].pauseIfIdle(direction, now: now)
            let events = read(segment, of: index, direction, rules, now)
            entries[index].notePayload(
                arrival.newByteCount, segment, direction, events: events, now: now,
                notes: &notes)
        }
        let burst = entries[index].countPayload(
            arrival.newByteCount, segment, direction, now: now)
        if !notes.isEmpty { measure(index, notes) }
        return burst
    }

    /// Lets the heads of a connection be read while they can be.
    @inline(__always)
    private mutating func read(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ rules: ClassRules,
        _ now: UInt64
    ) -> ScanEvents? {
        if entries[index].scanner.isNone {
            guard entries[index].scansLeft > 0, entries[index].mayBeginReading(direction)
            else { return nil }
            openScanner(segment, of: index, direction, now)
        }
        return feedScanner(segment, of: index, direction, rules, now)
    }

    private mutating func openScanner(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ now: UInt64
    ) {
        let handle = scanners.open(tunnel: Int(entries[index].key.tunnel), now: now)
        guard !handle.isNone else { return }
        entries[index].scansLeft -= 1
        entries[index].scanner = handle
        guard entries[index].isSideKnown, entries[index].out.bytes | entries[index].in.bytes == 0
        else { return }
        // The bytes that were placed just now are the first of their side.
        let side = entries[index].side(direction)
        scanners.begin(handle, side, sequence: entries[index].firstSequence(direction, segment))
        let other: FlowDirection = direction == .outbound ? .inbound : .outbound
        let way = other == .outbound ? entries[index].out : entries[index].in
        if way.isKnown { scanners.begin(handle, entries[index].side(other), sequence: way.next) }
    }

    private mutating func feedScanner(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ rules: ClassRules,
        _ now: UInt64
    ) -> ScanEvents? {
        let handle = entries[index].scanner
        guard !handle.isNone else { return nil }
        let events = scanners.feed(
            handle, segment.payload, sequence: segment.sequence,
            from: entries[index].side(direction), readsUsage: rules.readsUsage, now: now)
        entries[index].noteReading(events)
        return events
    }

    /// FIN and RST: a body may end with the connection, and nothing is read any more.
    private mutating func noteEnd(
        _ segment: Segment, of index: Int, _ direction: FlowDirection, _ now: UInt64
    ) {
        entries[index].noteEnd(segment, direction)
        let handle = entries[index].scanner
        if segment.isFIN, !segment.isRST, !handle.isNone {
            let events = scanners.end(handle, entries[index].side(direction))
            entries[index].noteReading(events)
            if events.kinds.contains(.responseEnded) { entries[index].answer.endStream() }
        }
        if entries[index].isOver {
            scanners.close(handle)
            entries[index].scanner = .none
            entries[index].answer.endStream()
            setRetired(true, index, now: now)
        }
    }

    private mutating func noteDatagram(
        _ packet: IPPacket, _ segmentByteCount: Int, of index: Int, _ direction: FlowDirection,
        _ ceiling: TrafficClass, _ rules: ClassRules, _ now: UInt64
    ) -> FlowVerdict {
        entries[index].refresh(rules)
        let byteCount = packet.transport.count &- UDPField.headerCount
        let packetByteCount = packet.totalCount
        let burst = entries[index].noteDatagram(
            byteCount, packetByteCount: packetByteCount, direction, now: now)
        let padding = max(packetByteCount &- byteCount &- FlowLimits.headerBytesMax, 0)
        let size = (segmentByteCount > 0 ? min(byteCount, segmentByteCount) : byteCount) &+ padding
        return verdict(
            index, direction, max(size, 1), burst, packet.dscp, ceiling, rules, now)
    }

    @inline(__always)
    private mutating func verdict(
        _ index: Int, _ direction: FlowDirection, _ byteCount: Int, _ burst: UInt32,
        _ mark: DSCP, _ ceiling: TrafficClass, _ rules: ClassRules, _ now: UInt64
    ) -> FlowVerdict {
        let trafficClass = entries[index].classify(
            direction, byteCount, burst: burst, mark: mark, rules: rules, now: now)
        if direction == .outbound { entries[index].ceiling = ceiling }
        // The two directions of a flow are two flows to a scheduler.
        let hash = UInt32(truncatingIfNeeded: entries[index].hash >> 32)
        return FlowVerdict(
            trafficClass: trafficClass.limited(to: ceiling),
            flow: direction == .outbound ? hash : ~hash)
    }

    /// What has no ports, or pieces of it: policy of its addresses, and how much the tunnel sends.
    @inline(never)
    private mutating func untracked(
        _ packet: IPPacket, _ direction: FlowDirection, _ tunnel: Int, _ ceiling: TrafficClass,
        _ rules: ClassRules, _ now: UInt64
    ) -> FlowVerdict {
        let key = FlowKey(untracked: packet, direction)
        let trafficClass: TrafficClass
        if !rules.isClassifying {
            trafficClass = .token
        } else if let policy = rules.service(of: key).trafficClass {
            trafficClass = policy
        } else if let marked = rules.marks.trafficClass(packet.dscp) {
            trafficClass = marked
        } else if tunnel >= 0, tunnel < FlowLimits.tunnelsMax {
            growTunnels(to: tunnel)
            trafficClass = direction == .outbound
                ? tunnels[tunnel].untrackedOut.trafficClass(of: packet, now: now)
                : tunnels[tunnel].untrackedIn.trafficClass(of: packet, now: now)
        } else {
            trafficClass = strays.trafficClass(of: packet, now: now)
        }
        return FlowVerdict(
            trafficClass: trafficClass.limited(to: ceiling),
            flow: flow(of: packet))
    }

    /// A number that is equal for packets of one flow, without taking note of the packet.
    ///
    /// Fragments of two hosts are one flow, whichever packets they are pieces of: a sender that
    /// makes fragments is not as many flows as it has packets.
    public func flow(of packet: IPPacket) -> UInt32 {
        guard packet.isFragment else {
            return flowHash(of: packet, seed: UInt32(truncatingIfNeeded: seed.0))
        }
        // Of the addresses alone: what a later fragment's protocol is, its sender says.
        return UInt32(truncatingIfNeeded: FlowKey(untracked: packet, .outbound).hash(seed) >> 32)
    }
}
