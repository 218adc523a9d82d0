import PacketFormats

/// Tenants come, change and go.
extension TenantQueues {
    /// Adds a tenant, or gives the one that is there other limits.
    ///
    /// - Parameter tenant: 0 to 65,535; smaller numbers take less memory.
    /// - Parameter meters: Shared with the other workers; by default its own.
    public mutating func add(
        tenant: Int, limits: TenantLimits, meters shared: TenantMeters? = nil
    ) {
        precondition(tenant >= 0 && tenant <= 65_535, "tenants are numbered 0 to 65,535")
        if isPresent(tenant) { return setLimits(limits, meters: shared, of: tenant) }
        if tenant >= tenants.count { growTenants(toHold: tenant) }
        tenants[tenant] = Tenant(isPresent: true)
        policies[tenant] = ClassPolicy()
        tenants[tenant].commonPath = makePath(-1, of: tenant)
        // Nothing is owed by, or to, one who had the number before.
        ready.setKey(0, of: tenant)
        promised.setKey(0, of: tenant)
        setLimits(limits, meters: shared, of: tenant)
    }

    /// Changes what a tenant may use; what waits, waits on.
    ///
    /// - Parameter limits: Without ``TenantLimits/fault()``.
    public mutating func setLimits(
        _ limits: TenantLimits, meters shared: TenantMeters? = nil, of tenant: Int
    ) {
        guard isPresent(tenant) else { return }
        let waits = tenants[tenant].count > 0
        if waits { deactivate(tenant) }
        let meters = shared ?? TenantMeters(limits)
        self.meters[tenant] = meters
        tenants[tenant].isCapped = meters.isCapped
        tenants[tenant].isPromised = meters.minimum != nil
        tenants[tenant].weight = UInt64(max(1, limits.weight))
        tenants[tenant].promise = UInt64(max(1, (limits.minimumRate ?? 0) / 1_000))
        tenants[tenant].bytesMax = Self.bytesMax(limits)
        if waits { activate(tenant) }
    }

    /// Removes a tenant, if it is there.
    ///
    /// - Parameter release: Is given the slots of its frames, which are the caller's again.
    /// - Complexity: O(all flows and paths, and its frames).
    public mutating func remove(tenant: Int, release: (Int32) -> Void) {
        guard isPresent(tenant) else { return }
        for flow in 0..<flows.count where Int(flows[flow].tenant) == tenant {
            while flows[flow].first >= 0 {
                release(frames[Int(flows[flow].first)].slot)
                removeHead(of: flow)
            }
            // One of `activation` is gone with its last frame.
            if flows[flow].tenant >= 0 { free(flow) }
        }
        deactivate(tenant)
        for path in 0..<paths.count where Int(paths[path].tenant) == tenant { removePath(path) }
        meters[tenant] = nil
        tenants[tenant] = Tenant()
    }

    private static func bytesMax(_ limits: TenantLimits) -> Int {
        let perSecond = [
            limits.maximumRate.map { $0 / 8 },
            limits.maximumPacketsPerSecond.map { $0 * Int64(TenantMeters.packetBytes) },
        ]
        guard let least = perSecond.compactMap(\.self).min() else { return .max }
        let milliseconds = Int64(cappedBacklogNanoseconds / 1_000_000)
        return max(Int(clamping: least / 1_000 * milliseconds), cappedBacklogBytesMin)
    }

    private mutating func growTenants(toHold tenant: Int) {
        let capacity = max(tenant + 1, 2 * tenants.count)
        var moreTenants = FixedTable(repeating: Tenant(), count: capacity)
        var morePolicies = FixedTable(repeating: ClassPolicy(), count: capacity)
        var moreMeters = FixedTable<TenantMeters?>(repeating: nil, count: capacity)
        for index in 0..<tenants.count {
            moreTenants[index] = tenants[index]
            morePolicies[index] = policies[index]
            moreMeters[index] = meters[index]
        }
        tenants = moreTenants
        policies = morePolicies
        meters = moreMeters
        pathLengths.reserve(groups: capacity)
        ready.reserve(capacity)
        promised.reserve(capacity)
        parked.reserve(capacity)
        dormant.reserve(capacity)
        awaitingPromise.reserve(capacity)
    }
}
