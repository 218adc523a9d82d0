public import PacketMemory

/// Merges decrypted inner packets into few writes to a TUN device.
///
/// 1. ``add(_:)`` puts each packet, in the order of arrival, at the end of its flow's open run or
///    begins a new run.
/// 2. ``prepare(run:)`` gives, for 0 ..< `runCount` in this order, what to write in one go.
/// 3. ``reset()`` forgets them all; then the packets' memory may be used again.
///
/// A packet that its flow's open run cannot take ends that run, so a flow's packets never change
/// their order. Nothing is merged that would come out different if it were cut again: see
/// `CoalescingRun.precedes`. Memory is allocated by `init` only.
public struct Coalescer: ~Copyable {
    /// Packets that fit between two calls of ``reset()``.
    public let packetCapacity: Int
    /// Which kinds of packets are merged; change it only when empty.
    public var offloads: CoalescingOffloads
    /// How many runs there are to be written.
    public private(set) var runCount = 0
    /// How many packets there are in all runs.
    public private(set) var packetCount = 0
    /// Whether the packet added last went to the end of a run that was there before.
    public private(set) var lastAddExtendedRun = false

    /// What unused records name.
    private let nothing = ByteArena(count: 1)
    private var runs: FixedTable<CoalescingRun>
    private var links: FixedTable<Link>
    /// The open runs by flow: sets of `ways` places, a set by hash.
    private var openRuns: FixedTable<OpenRun>
    /// A bit for each set that has a place in use.
    private var setsInUse: UInt32 = 0
    /// The regions of the run prepared last.
    private var regions: FixedTable<ByteRegion>

    /// A payload that follows others.
    private struct Link {
        var payload: ByteRegion
        var next: Int
    }

    private struct OpenRun {
        /// The flow's hash, made odd; 0 in a free place.
        var tag: UInt32
        var run: Int32
    }

    private static var sets: Int { 32 }
    private static var ways: Int { 4 }

    /// - Parameter packetCapacity: At least 1.
    public init(packetCapacity: Int = 512, offloads: CoalescingOffloads = .all) {
        precondition(packetCapacity > 0, "a coalescer holds at least one packet")
        self.packetCapacity = packetCapacity
        self.offloads = offloads
        let empty = nothing.whole.prefix(0)
        runs = FixedTable(
            repeating: CoalescingRun(head: empty, shape: CoalescingCandidate.of(empty)),
            count: packetCapacity)
        links = FixedTable(repeating: Link(payload: empty, next: -1), count: packetCapacity)
        openRuns = FixedTable(
            repeating: OpenRun(tag: 0, run: 0), count: Self.sets * Self.ways)
        regions = FixedTable(repeating: empty, count: CoalescingRun.segmentsMax)
    }

    // Written out so that users in other modules call it instead of taking the tables apart
    // themselves: their record types are private.
    deinit {}

    /// Takes one packet.
    ///
    /// - Parameter packet: Exactly an inner packet. The ``VirtioNetHeader/count`` bytes directly
    ///   before it are writable and no longer needed. Its memory stays until ``reset()``, and
    ///   ``prepare(run:)`` writes to it.
    /// - Returns: `false`, with nothing changed, when full: write the runs and reset first.
    /// - Complexity: O(1), and O(length) for the checksum where the packet may be merged.
    public mutating func add(_ packet: ByteRegion) -> Bool {
        guard packetCount < packetCapacity else { return false }
        let shape = CoalescingCandidate.of(packet)
        lastAddExtendedRun = false
        switch shape.group {
        case .foreign:
            break
        case .opaque:
            closeRuns(betweenAddressesOf: packet)
        case .standalone:
            guard setsInUse != 0 else { break }
            let place = find(packet, shape, shape.flowHash(packet))
            if place >= 0 { openRuns[place].tag = 0 }
        case .mergeable:
            guard offloads.contains(shape.offload) else { break }
            addMergeable(packet, shape)
            packetCount &+= 1
            return true
        }
        begin(packet, shape)
        packetCount &+= 1
        return true
    }

    /// Packets in a run, at least 1.
    public func segmentCount(ofRun run: Int) -> Int { runs[run].segmentCount }

    /// Whether a run holds several packets.
    public func isBulk(run: Int) -> Bool { runs[run].segmentCount > 1 }

    /// Writes a run's headers and lists its bytes: first the virtio_net_hdr with the first packet
    /// in one piece, then the payloads of the others.
    ///
    /// - Parameter run: In 0 ..< `runCount`, after the last packet has been added.
    /// - Returns: Valid until the next call of any mutating method.
    public mutating func prepare(run index: Int) -> RegionList {
        precondition(index < runCount, "no such run")
        let run = runs[index]
        let headroom = VirtioNetHeader.count
        // Invariant: `add` was promised that this many bytes before the packet are writable.
        let whole = unsafe ByteRegion(
            start: run.head.unsafeStart - headroom, count: headroom &+ run.head.count)
        run.writeHeaders(whole.prefix(headroom))
        regions[0] = whole
        var count = 1
        var link = run.firstLink
        while link >= 0 {
            let record = links[link]
            regions[count] = record.payload
            count &+= 1
            link = record.next
        }
        return unsafe RegionList(start: regions.unsafePrefix(count), count: count)
    }

    /// Forgets all packets.
    public mutating func reset() {
        while setsInUse != 0 {
            let first = setsInUse.trailingZeroBitCount &* Self.ways
            for way in 0..<Self.ways { openRuns[first &+ way].tag = 0 }
            setsInUse &= setsInUse &- 1
        }
        runCount = 0
        packetCount = 0
        lastAddExtendedRun = false
    }
}

extension Coalescer {
    /// Extends the flow's open run, or ends it and begins a new one in its place.
    @inline(__always)
    private mutating func addMergeable(_ packet: ByteRegion, _ shape: CoalescingCandidate) {
        let hash = shape.flowHash(packet)
        let isPushed = shape.isTCP && packet[shape.ipCount &+ TCPField.flags] & TCPField.psh != 0
        let place = find(packet, shape, hash)
        guard place >= 0 else {
            begin(packet, shape)
            if !isPushed { open(hash) }
            return
        }
        let run = Int(openRuns[place].run)
        guard runs[run].precedes(packet, shape) else {
            begin(packet, shape)
            openRuns[place] = OpenRun(
                tag: isPushed ? 0 : hash | 1, run: Int32(truncatingIfNeeded: runCount &- 1))
            return
        }
        guard isHeadValid(run) else {
            begin(packet, shape)
            openRuns[place].run = Int32(truncatingIfNeeded: runCount &- 1)
            if isPushed { openRuns[place].tag = 0 }
            return
        }
        guard shape.hasValidChecksums(packet) else {
            begin(packet, shape)
            openRuns[place].tag = 0
            return
        }
        extend(run, packet, shape, isPushed: isPushed)
        lastAddExtendedRun = true
        if isPushed || packet.count &- shape.headerCount < runs[run].segmentSize {
            openRuns[place].tag = 0
        }
    }

    @inline(__always)
    private mutating func begin(_ packet: ByteRegion, _ shape: CoalescingCandidate) {
        runs[runCount] = CoalescingRun(head: packet, shape: shape)
        runCount &+= 1
    }

    @inline(__always)
    private mutating func extend(
        _ run: Int, _ packet: ByteRegion, _ shape: CoalescingCandidate, isPushed: Bool
    ) {
        let payload = packet.region(from: shape.headerCount)
        // At most one link a packet: the packet's own number names it.
        let link = packetCount
        links[link] = Link(payload: payload, next: -1)
        let last = runs[run].lastLink
        if last >= 0 { links[last].next = link } else { runs[run].firstLink = link }
        runs[run].lastLink = link
        runs[run].segmentCount &+= 1
        runs[run].totalCount &+= payload.count
        runs[run].nextSequence &+= UInt32(truncatingIfNeeded: payload.count)
        runs[run].nextIdentification &+= 1
        runs[run].endsWithPush = isPushed
    }

    /// Checks a run's first packet once, when there is a second: a packet alone is never changed.
    @inline(__always)
    private mutating func isHeadValid(_ run: Int) -> Bool {
        if runs[run].isHeadVerified { return true }
        let isValid = runs[run].shape.hasValidChecksums(runs[run].head)
        runs[run].isHeadVerified = isValid
        return isValid
    }
}

extension Coalescer {
    @inline(__always)
    private static func firstPlace(_ hash: UInt32) -> Int { Int(hash >> 27) &* ways }

    /// Where the open run of the packet's flow is; -1 if there is none.
    @inline(__always)
    private func find(_ packet: ByteRegion, _ shape: CoalescingCandidate, _ hash: UInt32) -> Int {
        let first = Self.firstPlace(hash)
        for place in first..<first &+ Self.ways where openRuns[place].tag == hash | 1 {
            if runs[Int(openRuns[place].run)].isSameFlow(packet, shape) { return place }
        }
        return -1
    }

    /// Files the run begun last under its flow; a full set gives up one of its own, which ends it.
    @inline(__always)
    private mutating func open(_ hash: UInt32) {
        let first = Self.firstPlace(hash)
        var place = first &+ (runCount & (Self.ways &- 1))
        for candidate in first..<first &+ Self.ways where openRuns[candidate].tag == 0 {
            place = candidate
            break
        }
        openRuns[place] = OpenRun(tag: hash | 1, run: Int32(truncatingIfNeeded: runCount &- 1))
        setsInUse |= 1 << (hash >> 27)
    }

    private mutating func closeRuns(betweenAddressesOf packet: ByteRegion) {
        guard setsInUse != 0, packet.count >= IPv4Field.headerCountMin else { return }
        let isIPv4 = packet[0] >> 4 == 4
        guard isIPv4 || packet.count >= IPv6Field.headerCount else { return }
        for place in 0..<openRuns.count where openRuns[place].tag != 0 {
            let run = Int(openRuns[place].run)
            if runs[run].shape.isIPv4 == isIPv4,
                CoalescingRun.haveSameAddresses(runs[run].head, packet, isIPv4: isIPv4)
            {
                openRuns[place].tag = 0
            }
        }
    }
}
