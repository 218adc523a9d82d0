public import PacketFormats

/// Lines of a known rate, and what their classes share.
extension TenantQueues {
    /// Shapes everything that leaves, or ends that. What waits, waits on, and what the line is owed
    /// stays owed.
    ///
    /// - Parameter now: Monotonic nanoseconds.
    /// - Complexity: O(paths).
    public mutating func setLink(_ shape: LinkShape?, now: UInt64) {
        if let shape {
            if isLinkShaped { link.setShape(shape, now: now) } else { link = LinkShaper(shape) }
        }
        settleTurn(of: turn.tenant)
        isLinkShaped = shape != nil
        turnQuantumBytes = shape?.splitsFrames == true ? packetQuantumBytes : quantumBytes
        for path in 0..<paths.count where paths[path].tenant >= 0 { fit(path) }
    }

    /// Gives a peer a line of its own, or takes it away. What waits for the peer follows its flow's
    /// next frame, or at once to the common path when the line is taken away.
    ///
    /// - Parameter path: The peer; below 0 there is none.
    /// - Parameter now: Monotonic nanoseconds.
    /// - Complexity: O(1) amortized, when a line is given or changed; it may allocate. O(flows and
    ///   frames) when it is taken away.
    public mutating func setPath(_ path: Int32, of tenant: Int, shape: LinkShape?, now: UInt64) {
        guard isPresent(tenant), path >= 0 else { return }
        let own = pathIndex.find(tenant, UInt32(bitPattern: path))
        guard let shape else {
            if own >= 0 { dissolve(own, of: tenant) }
            return
        }
        if own >= 0 {
            paths[own].shaper.setShape(shape, now: now)
            if parkedPaths.contains(own) {
                parkedPaths.setKey(paths[own].shaper.readyAt, of: own)
            }
            fit(own)
        } else {
            let new = makePath(path, of: tenant)
            paths[new].isShaped = true
            paths[new].shaper = LinkShaper(shape)
            fit(new)
            paths[new].credits = fullCredits(of: new)
            tenants[tenant].pathCount &+= 1
            let common = tenants[tenant].commonPath
            if tenants[tenant].pathCount == 1 && paths[common].isActive {
                linkActive(common)
                pathLengths.note(common, of: tenant, length: paths[common].byteCount)
            }
        }
    }

    /// How the classes share each path of a tenant.
    public mutating func setClasses(_ policy: ClassPolicy, of tenant: Int) {
        guard isPresent(tenant) else { return }
        policies[tenant] = policy
        for path in 0..<paths.count where Int(paths[path].tenant) == tenant {
            paths[path].credits = fullCredits(of: path)
        }
    }

    /// Whether frames should be cut into packets before they are enqueued: a large one would hold
    /// the line for longer than a token may wait.
    public mutating func splits(tenant: Int, path: Int32) -> Bool {
        if isLinkShaped && link.shape.splitsFrames { return true }
        guard isPresent(tenant) else { return false }
        let path = self.path(of: path, tenant)
        return paths[path].isShaped && paths[path].shaper.shape.splitsFrames
    }

    /// What waits of a tenant's class.
    ///
    /// - Complexity: O(paths).
    public func occupancy(of tenant: Int, _ trafficClass: TrafficClass) -> Occupancy {
        guard isPresent(tenant) else { return Occupancy() }
        var sum = Occupancy()
        for path in 0..<paths.count where Int(paths[path].tenant) == tenant {
            let group = path * Self.classCount + Int(trafficClass.rawValue)
            sum.packets += classes[group].count
            sum.bytes += classes[group].byteCount
        }
        return sum
    }

    /// What waits for a peer with a line of its own, or, with -1, for all others.
    public func occupancy(ofPath path: Int32, of tenant: Int) -> Occupancy {
        guard let path = exactPath(path, of: tenant) else { return Occupancy() }
        return Occupancy(packets: paths[path].count, bytes: paths[path].byteCount)
    }

    /// Bytes on the wire that left towards a peer since it got a line of its own; with -1, by the
    /// common path.
    public func wireBytesSent(onPath path: Int32, of tenant: Int) -> UInt64 {
        exactPath(path, of: tenant).map { paths[$0].wireBytesSent } ?? 0
    }

    private func exactPath(_ path: Int32, of tenant: Int) -> Int? {
        guard isPresent(tenant) else { return nil }
        let place = self.path(of: path, tenant)
        return paths[place].peer == path ? place : nil
    }

    // MARK: Paths come and go

    /// Makes a path without a line.
    mutating func makePath(_ peer: Int32, of tenant: Int) -> Int {
        if pathNumbers.capacity == 0 { pathNumbers.grow(to: paths.count) }
        var range = pathNumbers.take(1)
        if range == nil {
            growPaths()
            range = pathNumbers.take(1)
        }
        guard let path = range?.lowerBound else { preconditionFailure("no room was made") }
        paths[path] = Path()
        paths[path].tenant = Int32(truncatingIfNeeded: tenant)
        paths[path].peer = peer
        for level in 0..<Self.classCount {
            classes[path * Self.classCount + level] = ClassQueue()
        }
        if peer >= 0 { pathIndex.insert(path, tenant, UInt32(bitPattern: peer)) }
        fit(path)
        paths[path].credits = fullCredits(of: path)
        return path
    }

    /// Forgets a path without flows.
    mutating func removePath(_ path: Int) {
        pathIndex.remove(path)
        paths[path] = Path()
        pathNumbers.giveBack(path..<path + 1)
    }

    private mutating func dissolve(_ path: Int, of tenant: Int) {
        let common = tenants[tenant].commonPath
        for flow in 0..<flows.count
        where flows[flow].tenant >= 0 && Int(flows[flow].path) == path {
            if flows[flow].count > 0 {
                move(flow, to: common, flows[flow].trafficClass)
            } else {
                free(flow)
            }
        }
        removePath(path)
        if tenants[tenant].pathCount == 1 && paths[common].isActive {
            unlinkActive(common)
            pathLengths.note(common, of: tenant, length: nil)
        }
        tenants[tenant].pathCount &-= 1
        if dormant.contains(tenant) {
            dormant.remove(tenant)
            activate(tenant)
        }
    }

    /// Makes a path fit its line, and the link.
    private mutating func fit(_ path: Int) {
        var slowest = isLinkShaped ? link.shape : nil
        paths[path].bytesMax = .max
        if paths[path].isShaped {
            let own = paths[path].shaper.shape
            paths[path].bytesMax = own.backlogBytesMax
            if own.bitsPerSecond < slowest?.bitsPerSecond ?? .max { slowest = own }
        }
        paths[path].watchesDelay = slowest != nil
        let quantum = slowest?.splitsFrames == true ? packetQuantumBytes : quantumBytes
        paths[path].quantumBytes = Int32(truncatingIfNeeded: quantum)
        let packetTime = slowest?.packetNanoseconds ?? 0
        paths[path].leadNanoseconds = Self.leadNanosecondsMin &+ 2 &* packetTime
        if let slowest { paths[path].law = SojournLaw(slowest) }
    }

    private func fullCredits(of path: Int) -> ClassCredits {
        ClassCredits(
            priorityPercent: policies[Int(paths[path].tenant)].priorityPercent,
            quantumBytes: Int(paths[path].quantumBytes))
    }

    private mutating func growPaths() {
        let (old, capacity) = (paths.count, 2 * paths.count)
        var more = FixedTable(repeating: Path(), count: capacity)
        var moreClasses = FixedTable(repeating: ClassQueue(), count: capacity * Self.classCount)
        var moreLinks = FixedTable(repeating: RingLink(), count: 2 * capacity)
        for index in 0..<old { more[index] = paths[index] }
        for index in 0..<classes.count { moreClasses[index] = classes[index] }
        for index in 0..<ringLinks.count { moreLinks[index] = ringLinks[index] }
        paths = more
        classes = moreClasses
        ringLinks = moreLinks
        pathNumbers.grow(to: capacity)
        pathIndex.reserve(capacity)
        pathLengths.reserve(queues: capacity)
        lengths.reserve(groups: capacity * Self.classCount)
        parkedPaths.reserve(capacity)
    }

    /// Where lines are slow, a turn is a packet.
    private var packetQuantumBytes: Int { min(quantumBytes, LinkShape.packetBytes) }
    private static var leadNanosecondsMin: UInt64 { 1_000_000 }
}
