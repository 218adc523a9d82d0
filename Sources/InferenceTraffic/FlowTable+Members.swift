import PacketFormats

/// Flows linked to one another; -1: none.
struct FlowList {
    var newest: Int32 = -1
    var oldest: Int32 = -1
}

/// The flows of one tunnel.
struct TunnelFlows {
    /// By their latest packet.
    var live = FlowList()
    /// By when they were over, or were last seen to be in use all the same.
    var retired = FlowList()
    var count: Int32 = 0
    var measures: Int32 = 0
    var evicted: UInt64 = 0
    /// Tokens and chunks that nobody took yet.
    var tokens: Int = 0
    /// What it sends that belongs to no flow, by direction.
    var untrackedOut = UntrackedMeters()
    var untrackedIn = UntrackedMeters()

    /// What gives up its place first; -1: none.
    var oldest: Int32 { retired.oldest >= 0 ? retired.oldest : live.oldest }
}

// MARK: - Finding

extension FlowTable {
    /// - Returns: -1 if there is none.
    @inline(__always)
    func find(_ key: FlowKey, _ hash: UInt64) -> Int {
        var index = buckets[Int(truncatingIfNeeded: hash & bucketMask)]
        while index >= 0 {
            let place = Int(index)
            if entries[place].hash == hash, entries[place].key == key { return place }
            index = entries[place].nextInBucket
        }
        return -1
    }

    /// Notes that a flow is in use.
    @inline(__always)
    mutating func touch(_ index: Int, now: UInt64) {
        entries[index].packetNanoseconds = now
        if now &- entries[index].listedNanoseconds > FlowLimits.listingNanoseconds {
            moveToFront(index, now: now)
        }
    }

    @inline(never)
    private mutating func moveToFront(_ index: Int, now: UInt64) {
        // What is over waits to be forgotten.
        guard !entries[index].isRetired else { return }
        entries[index].listedNanoseconds = now
        guard tunnels[Int(entries[index].key.tunnel)].live.newest != Int32(index)
        else { return }
        unlist(index)
        listFirst(index)
    }
}

// MARK: - Coming and going

extension FlowTable {
    /// Gives a new flow a place.
    @inline(never)
    mutating func insert(
        _ key: FlowKey, _ hash: UInt64, _ direction: FlowDirection, peer: Int32, now: UInt64
    ) -> Int {
        let tunnel = Int(key.tunnel)
        growTunnels(to: tunnel)
        forgetEnded(of: tunnel, now: now)
        var flow = Flow(key: key, hash: hash, peer: peer, now: now)
        flow.guessSides(direction)
        let index = takePlace(for: tunnel, flow)
        let bucket = Int(truncatingIfNeeded: hash & bucketMask)
        entries[index].nextInBucket = buckets[bucket]
        buckets[bucket] = Int32(index)
        if tunnels[tunnel].count == 0 { tunnelCount += 1 }
        tunnels[tunnel].count += 1
        count += 1
        listFirst(index)
        return index
    }

    private mutating func takePlace(for tunnel: Int, _ flow: Flow) -> Int {
        if let index = entries.append(flow) { return index }
        if firstFree < 0 { makeRoom(for: tunnel) }
        let index = Int(firstFree)
        firstFree = entries[index].nextInBucket
        entries[index] = flow
        return index
    }

    /// All places are taken. Who has its share gives up its own oldest flow; who has less takes
    /// from the one with most.
    private mutating func makeRoom(for tunnel: Int) {
        let sharers = max(tunnelCount + (tunnels[tunnel].count == 0 ? 1 : 0), 1)
        var victim = tunnel
        if Int(tunnels[tunnel].count) < max(capacity / sharers, 1) {
            for other in 0..<tunnels.count where tunnels[other].count > tunnels[victim].count {
                victim = other
            }
        }
        if tunnels[victim].count == 0 { victim = largestTunnel() }
        tunnels[victim].evicted += 1
        forget(Int(tunnels[victim].oldest))
    }

    private func largestTunnel() -> Int {
        var largest = 0
        for other in 0..<tunnels.count where tunnels[other].count > tunnels[largest].count {
            largest = other
        }
        return largest
    }

    /// A few of those that are over, and of those that are silent, give up their places.
    private mutating func forgetEnded(of tunnel: Int, now: UInt64) {
        for _ in 0..<FlowLimits.expiredPerNewcomer {
            let oldest = Int(tunnels[tunnel].retired.oldest)
            guard oldest >= 0,
                now &- entries[oldest].listedNanoseconds > FlowLimits.closedIdleNanoseconds
            else { break }
            if isIdle(oldest, now: now) {
                forget(oldest)
            } else {
                // Who goes on sending after an end keeps its place, and nobody else's.
                unlist(oldest)
                listFirst(oldest)
                entries[oldest].listedNanoseconds = now
            }
        }
        for _ in 0..<FlowLimits.expiredPerNewcomer {
            let oldest = Int(tunnels[tunnel].live.oldest)
            guard oldest >= 0, isIdle(oldest, now: now) else { return }
            forget(oldest)
        }
    }

    private func isIdle(_ index: Int, now: UInt64) -> Bool {
        now &- entries[index].packetNanoseconds > entries[index].idleNanosecondsMax
    }

    mutating func forget(_ index: Int) {
        scanners.close(entries[index].scanner)
        entries[index].scanner = .none
        unlist(index)
        unlink(index)
        let tunnel = Int(entries[index].key.tunnel)
        tunnels[tunnel].count -= 1
        if tunnels[tunnel].count == 0 { tunnelCount -= 1 }
        count -= 1
        entries[index].isFree = true
        entries[index].nextInBucket = firstFree
        firstFree = Int32(index)
    }

    /// A connection is over, or is not after all: those that are over are forgotten before others,
    /// in the order in which they ended.
    mutating func setRetired(_ isRetired: Bool, _ index: Int, now: UInt64) {
        guard entries[index].isRetired != isRetired else { return }
        unlist(index)
        entries[index].isRetired = isRetired
        entries[index].listedNanoseconds = now
        listFirst(index)
    }

    private mutating func unlink(_ index: Int) {
        let bucket = Int(truncatingIfNeeded: entries[index].hash & bucketMask)
        var place = buckets[bucket]
        if place == Int32(index) {
            buckets[bucket] = entries[index].nextInBucket
            return
        }
        while place >= 0 {
            let next = entries[Int(place)].nextInBucket
            if next == Int32(index) {
                entries[Int(place)].nextInBucket = entries[index].nextInBucket
                return
            }
            place = next
        }
    }

    private mutating func listFirst(_ index: Int) {
        var list = list(of: index)
        let first = list.newest
        entries[index].newer = -1
        entries[index].older = first
        if first >= 0 { entries[Int(first)].newer = Int32(index) }
        list.newest = Int32(index)
        if list.oldest < 0 { list.oldest = Int32(index) }
        setList(list, of: index)
    }

    private mutating func unlist(_ index: Int) {
        var list = list(of: index)
        let newer = entries[index].newer
        let older = entries[index].older
        if newer >= 0 { entries[Int(newer)].older = older } else { list.newest = older }
        if older >= 0 { entries[Int(older)].newer = newer } else { list.oldest = newer }
        setList(list, of: index)
    }

    private func list(of index: Int) -> FlowList {
        let tunnel = Int(entries[index].key.tunnel)
        return entries[index].isRetired ? tunnels[tunnel].retired : tunnels[tunnel].live
    }

    private mutating func setList(_ list: FlowList, of index: Int) {
        let tunnel = Int(entries[index].key.tunnel)
        if entries[index].isRetired {
            tunnels[tunnel].retired = list
        } else {
            tunnels[tunnel].live = list
        }
    }

    mutating func growTunnels(to tunnel: Int) {
        guard tunnel >= tunnels.count else { return }
        var count = tunnels.count
        while count <= tunnel { count *= 2 }
        var grown = FixedTable(repeating: TunnelFlows(), count: count)
        for index in 0..<tunnels.count { grown[index] = tunnels[index] }
        tunnels = grown
    }
}

// MARK: - Control

extension FlowTable {
    /// Forgets a tunnel's flows and measures.
    public mutating func remove(tunnel: Int) {
        guard tunnel >= 0, tunnel < tunnels.count else { return }
        while tunnels[tunnel].oldest >= 0 { forget(Int(tunnels[tunnel].oldest)) }
        measureTable.remove(tunnel: Int32(tunnel))
        tunnels[tunnel] = TunnelFlows()
    }

    /// Forgets peers, before their numbers are given to others: their measures are nobody's.
    ///
    /// - Parameter peers: Small numbers, 0 or more.
    /// - Complexity: O(flows of the tunnel + numbers), however many peers there are: many at once
    ///   cost what one does.
    public mutating func remove(peers: Set<Int32>, of tunnel: Int) {
        guard tunnel >= 0, tunnel < tunnels.count, let last = peers.max(), last >= 0
        else { return }
        // By number, for a test that costs no more than reading a flow does.
        var isRemoved = [Bool](repeating: false, count: Int(last) + 1)
        for peer in peers where peer >= 0 { isRemoved[Int(peer)] = true }
        for start in [tunnels[tunnel].live.newest, tunnels[tunnel].retired.newest] {
            var index = Int(start)
            while index >= 0 {
                let peer = Int(entries[index].peer)
                if peer >= 0, peer < isRemoved.count, isRemoved[peer] { entries[index].peer = -1 }
                index = Int(entries[index].older)
            }
        }
        tunnels[tunnel].measures -= measureTable.remove(peers: peers, of: Int32(tunnel))
    }

    public func flowCount(of tunnel: Int) -> Int {
        tunnel >= 0 && tunnel < tunnels.count ? Int(tunnels[tunnel].count) : 0
    }

    /// Flows of a tunnel that were forgotten to make room.
    public func evictedCount(of tunnel: Int) -> UInt64 {
        tunnel >= 0 && tunnel < tunnels.count ? tunnels[tunnel].evicted : 0
    }

    /// Output tokens since the last call: chunks stand for them until a usage record says how many
    /// there were.
    public mutating func takeTokens(of tunnel: Int) -> Int {
        guard tunnel >= 0, tunnel < tunnels.count else { return 0 }
        defer { tunnels[tunnel].tokens = 0 }
        return tunnels[tunnel].tokens
    }
}
