import PacketFormats

/// Frames waiting to be encrypted, of many tenants that share a worker: each tenant has its share,
/// within it each path, each class, and each flow.
///
/// 1. Between tenants: start-time fair queueing in bytes over weight, in turns of about a quantum.
///    A tenant that used less than its share is served at once, so that it never waits for the
///    rounds of those who are busy. Tenants below the rate they were promised go before all others;
///    who has reached a maximum waits and hands its share on.
/// 2. Between a tenant's paths (peers with a line of their own, and the common path of all others):
///    by deficit round robin, those with urgent frames first within a cap. A path whose line is
///    busy waits and hands its share on; a tenant may send while one of its paths may.
/// 3. Between a path's classes: see ``nextClass(of:_:_:)``.
/// 4. Between a class's flows: a flow that begins to send is new and goes before the old ones until
///    it has used up its quantum, as far as all new ones together may. Old flows share by deficit
///    round robin, in bytes. Departing from the source, a flow that begins with a frame larger than
///    the quantum is old at once: a TUN frame can be 64 KiB, and nothing with such frames is
///    sparse. `activation` goes by age instead. Where the rate is known, CoDel watches each flow.
///
/// A flow has one queue, in one class of one path. Its frames leave in the order in which they
/// came, whatever they are said to be: a worse class takes the whole queue with it, a better one
/// counts once the queue is empty.
///
/// Holds frame slot numbers only. Allocates when it is made and when tenants or paths come or
/// change, nowhere else.
///
/// Source: RFC 8290, sections 4.1 and 4.2; RFC 8289; Goyal, Vin and Cheng, Start-time fair queuing
/// (1996).
public struct TenantQueues: ~Copyable {
    /// Frames that fit, of all tenants together.
    public let frameCapacity: Int
    /// Bytes that a flow, or a tenant, may send before it is somebody else's turn, where lines are
    /// fast; elsewhere it is a packet.
    public let quantumBytes: Int
    /// What a frame counts for among tenants on top of its bytes: the work that every frame is.
    /// Where the link is shaped, the line is what tenants share, and bytes on it count instead.
    public let frameOverheadBytes: Int
    /// Frames waiting.
    public internal(set) var count = 0
    /// Their bytes.
    public internal(set) var byteCount = 0
    /// Bytes on the wire that left, since the start.
    public internal(set) var wireBytesSent: UInt64 = 0

    var frames: FixedTable<Frame>
    var firstFree: Int32 = 0
    /// Frames of `activation`, by age: see ``ClassQueue/due``.
    var dueLinks: FixedTable<DueLink>
    var flows: FixedTable<Flow>
    var firstFreeFlow: Int32 = 0
    /// Where to look for a flow without frames when all are in use.
    var flowHand = 0
    var flowIndex = NumberIndex()
    /// Flows by length, grouped as `classes`.
    var lengths = LengthLevels()

    var paths = FixedTable(repeating: Path(), count: 1)
    /// Of each path six, by raw value.
    var classes = FixedTable(repeating: ClassQueue(), count: Self.classCount)
    /// Of each path two, by ring.
    var ringLinks = FixedTable(repeating: RingLink(), count: 2)
    var pathNumbers = RangeAllocator()
    var pathIndex = NumberIndex()
    /// Paths by length, grouped by tenant; kept where a tenant has several.
    var pathLengths = LengthLevels()

    var tenants = FixedTable(repeating: Tenant(), count: 1)
    var policies = FixedTable(repeating: ClassPolicy(), count: 1)
    var meters = FixedTable<TenantMeters?>(repeating: nil, count: 1)

    // A tenant with frames is in exactly one of the first four.
    /// Whoever may send, by start tag.
    var ready = TenantHeap()
    /// Whoever may send and is below its promised rate, by a start tag of its own.
    var promised = TenantHeap()
    /// Whoever has to wait for a maximum, by the time until when.
    var parked = TenantHeap()
    /// Whoever has frames for paths that wait, and no others.
    var dormant = TenantHeap()
    /// Members of `ready` with a promised rate, by the time when they are below it again.
    var awaitingPromise = TenantHeap()
    /// Paths with frames that wait for their line, by the time until when.
    var parkedPaths = TenantHeap()
    /// The latest start tag that was served, of `ready` and of `promised`.
    var readyClock: UInt64 = 0
    var promisedClock: UInt64 = 0
    var turn = Turn()
    /// Bytes that a tenant may send in one turn.
    var turnQuantumBytes: Int

    var isLinkShaped = false
    var link = LinkShaper(LinkShape(bitsPerSecond: LinkShape.bitsPerSecondMax))

    /// - Parameter frameCapacity: At least 1.
    /// - Parameter quantumBytes: 1 to 16 MiB; about one frame of full size.
    /// - Parameter frameOverheadBytes: At least 0.
    public init(frameCapacity: Int, quantumBytes: Int, frameOverheadBytes: Int = 0) {
        precondition(
            frameCapacity > 0 && frameCapacity < 1 << 24, "frames are numbered in 24 bits")
        precondition(
            quantumBytes > 0 && quantumBytes <= 1 << 24, "a quantum is 1 byte to 16 MiB")
        precondition(
            frameOverheadBytes >= 0 && frameOverheadBytes <= 1 << 24, "a frame's work is counted")
        self.frameCapacity = frameCapacity
        self.quantumBytes = quantumBytes
        self.frameOverheadBytes = frameOverheadBytes
        turnQuantumBytes = quantumBytes
        frames = FixedTable(repeating: Frame(), count: frameCapacity)
        for index in 0..<frameCapacity - 1 { frames[index].next = Int32(index + 1) }
        dueLinks = FixedTable(repeating: DueLink(), count: frameCapacity)
        // Half of them have no frames when all are in use.
        let flowCount = max(2 * frameCapacity, Self.flowCountMin)
        flows = FixedTable(repeating: Flow(), count: flowCount)
        for index in 0..<flowCount - 1 { flows[index].next = Int32(index + 1) }
        flowIndex.reserve(flowCount)
        lengths.reserve(queues: flowCount)
        lengths.reserve(groups: Self.classCount)
    }

    // Written out so that users in other modules call it instead of taking the tables apart
    // themselves: their record types are internal.
    deinit {}

    /// Whether there is such a tenant.
    @inline(__always)
    public func isPresent(_ tenant: Int) -> Bool {
        tenant >= 0 && tenant < tenants.count && tenants[tenant].isPresent
    }

    /// When a frame may leave that waits for the link, its path's line, or its tenant's maximum, in
    /// monotonic nanoseconds, possibly past; `nil` if nothing waits for any of them.
    public var nextEligible: UInt64? {
        guard count > 0 else { return nil }
        var time = parked.isEmpty ? UInt64.max : parked.firstKey
        if !parkedPaths.isEmpty { time = min(time, parkedPaths.firstKey) }
        if isLinkShaped {
            let isAnyoneReady = !ready.isEmpty || !promised.isEmpty
            time = isAnyoneReady ? link.readyAt : max(time, link.readyAt)
        }
        return time == .max ? nil : time
    }

    /// Puts a frame at the end of its flow's queue.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Returns: `false`, with nothing changed, when full (see ``dropFromLongest()``) and when
    ///   there is no such tenant.
    /// - Complexity: O(1); O(frames of the flow) when they change class or path.
    public mutating func enqueue(_ entry: EgressFrame, now: UInt64) -> Bool {
        guard firstFree >= 0, isPresent(entry.tenant) else { return false }
        let tenant = entry.tenant
        let frame = firstFree
        let size = max(0, min(entry.byteCount, Int(Int32.max)))
        let wire = max(0, min(entry.wireByteCount, Int(Int32.max)))
        firstFree = frames[Int(frame)].next
        frames[Int(frame)] = Frame(
            slot: entry.slot, byteCount: Int32(truncatingIfNeeded: size),
            wireByteCount: Int32(truncatingIfNeeded: wire), enqueuedAt: now)
        let flow = queue(for: entry, size, now)
        let isHead = flows[flow].first < 0
        append(frame, size, to: flow, now)
        if tenants[tenant].count == 0 {
            activate(tenant)
        } else if isHead || tenants[tenant].pathCount > 0 {
            reconsider(tenant, Int(flows[flow].path), size)
        }
        tenants[tenant].add(1, size)
        count &+= 1
        byteCount &+= size
        return true
    }

    /// Takes the frame whose turn it is.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Returns: `nil` when no frame may leave now: see ``nextEligible``.
    /// - Complexity: O(1) amortized over flows while frames are no larger than the quantum; O(log
    ///   of the tenants that wait) once a turn.
    public mutating func dequeue(now: UInt64) -> Departure? {
        guard count > 0 else { return nil }
        wake(now)
        if isLinkShaped && !link.isReady(now) { return nil }
        while let tenant = nextTenant() {
            guard let (path, ring) = nextPath(of: tenant, now) else {
                rest(tenant)
                continue
            }
            let (level, isWeighted) = nextClass(of: path, tenant, now)
            let (flow, isNew) = nextFlow(of: path, level)
            let record = frames[Int(flows[flow].first)]
            if tenants[tenant].isCapped || tenants[tenant].isPromised {
                guard pay(Int(record.byteCount), tenant, now) else { continue }
            }
            let trafficClass = flows[flow].trafficClass
            let waited = now >= record.enqueuedAt ? now &- record.enqueuedAt : 0
            let isSignalled = send(
                record, from: flow, waited: waited, isWeighted: isWeighted, ring: ring, now)
            return Departure(
                slot: record.slot, tenant: tenant, path: paths[path].peer,
                trafficClass: trafficClass, isSparse: isNew || level <= Self.activation,
                sojournNanoseconds: waited, isSignalled: isSignalled,
                byteCount: Int(record.byteCount), wireByteCount: Int(record.wireByteCount))
        }
        if isLinkShaped { link.pause() }
        return nil
    }

    /// Takes the first frame of a flow out, and charges it to everyone it concerns.
    ///
    /// - Returns: Whether the flow's queue stands.
    private mutating func send(
        _ record: Frame, from flow: Int, waited: UInt64, isWeighted: Bool, ring: Int,
        _ now: UInt64
    ) -> Bool {
        let (size, wire) = (Int(record.byteCount), Int(record.wireByteCount))
        let (tenant, path) = (Int(flows[flow].tenant), Int(flows[flow].path))
        let level = Int(flows[flow].level)
        var isSignalled = false
        if paths[path].watchesDelay && level != Self.control {
            // A packet by itself is no queue (RFC 8289, section 4.1).
            let isStanding = flows[flow].byteCount &- size > LinkShape.packetBytes
            isSignalled = flows[flow].sojourn.left(
                sojournNanoseconds: isStanding ? waited : 0, now: now, by: paths[path].law)
        }
        chargeFlow(flow, wire)
        chargeClasses(of: path, tenant, level, wire, isWeighted: isWeighted)
        if tenants[tenant].pathCount > 0 { chargePath(path, tenant, wire, ring: ring) }
        if paths[path].isShaped { paths[path].shaper.charge(wire, now: now) }
        if isLinkShaped { link.charge(wire, now: now) }
        paths[path].wireBytesSent &+= UInt64(wire)
        wireBytesSent &+= UInt64(wire)
        turn.bytes &+= isLinkShaped ? wire : size &+ frameOverheadBytes
        removeHead(of: flow)
        if tenants[tenant].count == 0 {
            deactivate(tenant)
            if isLinkShaped && count == 0 { link.pause() }
        }
        return isSignalled
    }

    /// Takes back the latest departure because its frame was dropped: what it took of shapers,
    /// meters and counters is there again.
    public mutating func giveBack(_ departure: Departure) {
        let (tenant, wire) = (departure.tenant, departure.wireByteCount)
        guard isPresent(tenant) else { return }
        let path = path(of: departure.path, tenant)
        if paths[path].isShaped { paths[path].shaper.refund(wire) }
        if isLinkShaped { link.refund(wire) }
        paths[path].wireBytesSent &-= min(UInt64(wire), paths[path].wireBytesSent)
        wireBytesSent &-= min(UInt64(wire), wireBytesSent)
        if turn.tenant == tenant {
            let cost = isLinkShaped ? wire : departure.byteCount &+ frameOverheadBytes
            turn.bytes = max(0, turn.bytes &- cost)
        }
        guard let meters = meters[tenant] else { return }
        meters.maximum?.giveBack(departure.byteCount)
        meters.packets?.giveBack(TenantMeters.packetCount(byteCount: departure.byteCount))
        meters.minimum?.giveBack(departure.byteCount)
    }

    /// How long a tenant's frames may wait for its maxima: enough for TCP to fill them, no more.
    public static let cappedBacklogNanoseconds: UInt64 = 100_000_000
    /// What a tenant may hold however low its maximum is: a few frames with segmentation offload.
    public static let cappedBacklogBytesMin = 4 << 16
    private static let flowCountMin = 1_024
}
