import PacketFormats

/// Whose turn it is among the paths of a tenant.
extension TenantQueues {
    /// The path of a peer, or the common path.
    @inline(__always)
    func path(of peer: Int32, _ tenant: Int) -> Int {
        guard tenants[tenant].pathCount > 0, peer >= 0 else { return tenants[tenant].commonPath }
        let own = pathIndex.find(tenant, UInt32(bitPattern: peer))
        return own >= 0 ? own : tenants[tenant].commonPath
    }

    /// The path to serve, and the ring that says so; `nil` if no path may send.
    ///
    /// Those with urgent frames take turns before all others while they have had at most the
    /// priority's percentage of the bytes. What they send is charged to their share all the same.
    @inline(__always)
    mutating func nextPath(of tenant: Int, _ now: UInt64) -> (path: Int, ring: Int)? {
        if tenants[tenant].pathCount == 0 { return (tenants[tenant].commonPath, Self.allRing) }
        return choosePath(of: tenant, now)
    }

    private mutating func choosePath(of tenant: Int, _ now: UInt64) -> (path: Int, ring: Int)? {
        while !tenants[tenant].allPaths.isEmpty {
            let isUrgent = !tenants[tenant].urgentPaths.isEmpty && tenants[tenant].pathCredit >= 0
            let path = Int(
                isUrgent ? tenants[tenant].urgentPaths.first : tenants[tenant].allPaths.first)
            if paths[path].isShaped && !paths[path].shaper.isReady(now) {
                park(path)
                continue
            }
            if isUrgent { return (path, Self.urgentRing) }
            if paths[path].deficit <= 0 {
                let isAlone = ringLinks[2 &* path].next < 0
                let quantum = Int(paths[path].quantumBytes)
                paths[path].deficit = isAlone ? quantum : paths[path].deficit &+ quantum
                unlink(path, Self.allRing)
                link(path, Self.allRing)
                continue
            }
            return (path, Self.allRing)
        }
        return nil
    }

    /// Notes what a path of several was served, before its frame is taken out.
    ///
    /// Who is alone takes from nobody, and owes nothing. What urgent frames took beyond a path's
    /// share is owed up to a bound, so that the path's other frames wait for a while at most.
    mutating func chargePath(_ path: Int, _ tenant: Int, _ byteCount: Int, ring: Int) {
        guard tenants[tenant].allPaths.first != tenants[tenant].allPaths.last else {
            paths[path].deficit = max(paths[path].deficit, 0)
            return
        }
        let quantum = Int(paths[path].quantumBytes)
        let debtMax = max(2 &* quantum, Self.pathCreditPackets &* LinkShape.packetBytes)
        // A round of large frames does not go on where a round is a packet by now.
        let rest = min(paths[path].deficit, quantum)
        paths[path].deficit = max(rest &- byteCount, -debtMax)
        guard !tenants[tenant].urgentPaths.isEmpty else { return }
        let percent = policies[tenant].priorityPercent
        let bytes = min(byteCount, 1 << 24)
        let bound = Self.pathCreditPackets &* LinkShape.packetBytes &* 100
        if ring == Self.urgentRing {
            tenants[tenant].pathCredit &-= (100 &- percent) &* bytes
            unlink(path, Self.urgentRing)
            link(path, Self.urgentRing)
        } else {
            tenants[tenant].pathCredit &+= percent &* bytes
        }
        tenants[tenant].pathCredit = max(-bound, min(tenants[tenant].pathCredit, bound))
    }

    // MARK: What waits

    /// Counts frames into a class of a path.
    @inline(__always)
    mutating func add(_ frameCount: Int, _ bytes: Int, to path: Int, _ level: Int) {
        let group = path &* Self.classCount &+ level
        classes[group].add(frameCount, bytes)
        paths[path].add(frameCount, bytes)
        let before = paths[path].waiting
        let waiting = before | 1 &<< UInt8(truncatingIfNeeded: level)
        if waiting != before { begin(path, level, before, waiting) }
        noteLength(of: path)
    }

    /// Counts frames out of a class of a path.
    @inline(__always)
    mutating func subtract(_ frameCount: Int, _ bytes: Int, from path: Int, _ level: Int) {
        let group = path &* Self.classCount &+ level
        classes[group].add(-frameCount, -bytes)
        paths[path].add(-frameCount, -bytes)
        if classes[group].count == 0 { end(path, level) }
        noteLength(of: path)
    }

    @inline(__always)
    private mutating func noteLength(of path: Int) {
        let tenant = Int(paths[path].tenant)
        guard tenants[tenant].pathCount > 0 else { return }
        pathLengths.note(
            path, of: tenant, length: paths[path].count == 0 ? nil : paths[path].byteCount)
    }

    /// A class has frames that had none.
    private mutating func begin(_ path: Int, _ level: Int, _ before: UInt8, _ waiting: UInt8) {
        paths[path].waiting = waiting
        if level == Self.background { paths[path].credits.backgroundArrived() }
        if before == 0 {
            paths[path].deficit = Int(paths[path].quantumBytes)
            joinRings(path)
        } else if paths[path].isActive {
            noteUrgency(of: path)
        }
    }

    /// A class has no frames any more.
    private mutating func end(_ path: Int, _ level: Int) {
        paths[path].waiting &= ~(1 &<< UInt8(truncatingIfNeeded: level))
        guard paths[path].waiting == 0 else { return noteUrgency(of: path) }
        leaveRings(path)
        guard paths[path].isShaped else { return }
        parkedPaths.remove(path)
        paths[path].shaper.pause()
    }

    /// Takes a path out of its tenant's turns until its line is free.
    private mutating func park(_ path: Int) {
        leaveRings(path)
        parkedPaths.insert(path, key: paths[path].shaper.readyAt)
    }

    /// A path's time has come.
    mutating func wakePath(_ path: Int) {
        parkedPaths.remove(path)
        joinRings(path)
        let tenant = Int(paths[path].tenant)
        if dormant.contains(tenant) {
            dormant.remove(tenant)
            activate(tenant)
        }
    }

    // MARK: Rings

    @inline(__always)
    private mutating func joinRings(_ path: Int) {
        paths[path].isActive = true
        if tenants[Int(paths[path].tenant)].pathCount > 0 { linkActive(path) }
    }

    /// Rings are kept where there are several paths only.
    mutating func linkActive(_ path: Int) {
        link(path, Self.allRing)
        noteUrgency(of: path)
    }

    @inline(__always)
    private mutating func leaveRings(_ path: Int) {
        guard paths[path].isActive else { return }
        paths[path].isActive = false
        if tenants[Int(paths[path].tenant)].pathCount > 0 { unlinkActive(path) }
    }

    mutating func unlinkActive(_ path: Int) {
        unlink(path, Self.allRing)
        guard paths[path].isUrgent else { return }
        paths[path].isUrgent = false
        unlink(path, Self.urgentRing)
    }

    private mutating func noteUrgency(of path: Int) {
        guard tenants[Int(paths[path].tenant)].pathCount > 0 else { return }
        let isUrgent = paths[path].isActive && paths[path].waiting & ClassMask.urgent != 0
        guard isUrgent != paths[path].isUrgent else { return }
        paths[path].isUrgent = isUrgent
        if isUrgent { link(path, Self.urgentRing) } else { unlink(path, Self.urgentRing) }
    }

    /// Puts a path at the end of a ring of its tenant's.
    private mutating func link(_ path: Int, _ ring: Int) {
        let tenant = Int(paths[path].tenant)
        let number = Int32(truncatingIfNeeded: path)
        var list =
            ring == Self.allRing ? tenants[tenant].allPaths : tenants[tenant].urgentPaths
        ringLinks[2 &* path &+ ring] = RingLink(previous: list.last)
        if list.isEmpty {
            list.first = number
        } else {
            ringLinks[2 &* Int(list.last) &+ ring].next = number
        }
        list.last = number
        set(list, ring, of: tenant)
    }

    private mutating func unlink(_ path: Int, _ ring: Int) {
        let tenant = Int(paths[path].tenant)
        let place = ringLinks[2 &* path &+ ring]
        var list =
            ring == Self.allRing ? tenants[tenant].allPaths : tenants[tenant].urgentPaths
        if place.previous >= 0 {
            ringLinks[2 &* Int(place.previous) &+ ring].next = place.next
        } else {
            list.first = place.next
        }
        if place.next >= 0 {
            ringLinks[2 &* Int(place.next) &+ ring].previous = place.previous
        } else {
            list.last = place.previous
        }
        set(list, ring, of: tenant)
    }

    private mutating func set(_ list: LinkedList, _ ring: Int, of tenant: Int) {
        if ring == Self.allRing {
            tenants[tenant].allPaths = list
        } else {
            tenants[tenant].urgentPaths = list
        }
    }

    static var allRing: Int { 0 }
    static var urgentRing: Int { 1 }
    /// How far urgent paths may be ahead of the others, or behind.
    private static var pathCreditPackets: Int { 32 }
}
