import PacketFormats

/// What is given up when there is no room.
extension TenantQueues {
    /// Removes a frame of the tenant that holds most for its weight, to make room.
    ///
    /// - Returns: `nil` when nothing waits.
    /// - Complexity: O(tenants that have frames).
    public mutating func dropFromLongest() -> DroppedFrame? {
        guard let tenant = longestTenant() else { return nil }
        return dropFromLongest(of: tenant)
    }

    /// Removes the oldest frame of a long flow of one tenant: of a path that holds at least half as
    /// much as its longest, in the worst class that holds a part worth mentioning, of a flow that
    /// is at least half as long as the longest there, or of the newest where too many are new.
    ///
    /// - Returns: `nil` when nothing waits.
    /// - Complexity: O(1).
    public mutating func dropFromLongest(of tenant: Int) -> DroppedFrame? {
        guard isPresent(tenant), tenants[tenant].count > 0 else { return nil }
        guard tenants[tenant].pathCount > 0 else { return drop(from: tenants[tenant].commonPath) }
        return pathLengths.longest(of: tenant).flatMap { drop(from: $0) }
    }

    /// Removes a frame of a tenant that holds more than its maxima let it send in a while, of a
    /// path that holds more than its line does, or of whoever holds most when all together hold
    /// more than the link does: what waits behind a limit is delay, and others' room.
    ///
    /// - Parameter path: Where the latest frame went.
    /// - Returns: `nil` when nothing is too much.
    public mutating func dropExcess(of tenant: Int, path: Int32 = -1) -> DroppedFrame? {
        guard isPresent(tenant) else { return nil }
        if tenants[tenant].byteCount > tenants[tenant].bytesMax {
            return dropFromLongest(of: tenant)
        }
        if tenants[tenant].pathCount > 0 {
            let path = self.path(of: path, tenant)
            if paths[path].byteCount > paths[path].bytesMax { return drop(from: path) }
        }
        guard isLinkShaped, byteCount > link.shape.backlogBytesMax else { return nil }
        return dropFromLongest()
    }

    /// Where flows that begin, and not soon after they were here, together hold many times as much
    /// as any one flow, there may be one sender behind them: the newest gives way, whatever its
    /// length.
    private mutating func newestFlow(of group: Int, ifLongest byteCount: Int) -> Int? {
        guard classes[group].newBytes > Self.newFlowsMax &* byteCount else { return nil }
        while true {
            let flow = Int(classes[group].newFlows.last)
            if flows[flow].first >= 0 { return flow }
            unlist(flow)
            list(flow, .old)
        }
    }

    private mutating func drop(from path: Int) -> DroppedFrame? {
        guard let level = worstClass(of: path) else { return nil }
        let group = path &* Self.classCount &+ level
        guard let longest = lengths.longest(of: group) else { return nil }
        let flow = newestFlow(of: group, ifLongest: flows[longest].byteCount) ?? longest
        let record = frames[Int(flows[flow].first)]
        let (tenant, trafficClass) = (Int(flows[flow].tenant), flows[flow].trafficClass)
        removeHead(of: flow)
        if tenants[tenant].count == 0 { deactivate(tenant) }
        return DroppedFrame(
            slot: record.slot, tenant: tenant, trafficClass: trafficClass,
            byteCount: Int(record.byteCount))
    }

    /// A class with little in it has not filled the queue, however bad it is: the worst that has at
    /// least an eighth of the bytes, which one of six has.
    private func worstClass(of path: Int) -> Int? {
        for level in stride(from: Self.background, through: 0, by: -1) {
            let group = path &* Self.classCount &+ level
            let bytes = classes[group].byteCount
            if classes[group].count > 0 && bytes >= paths[path].byteCount / 8 { return level }
        }
        return nil
    }

    /// More flows of the longest one's length than begin at one time by chance.
    private static var newFlowsMax: Int { 16 }
}
