import PacketFormats

/// Whose turn it is among the tenants.
extension TenantQueues {
    /// Gives a tenant whose first frame has just come a place.
    mutating func activate(_ tenant: Int) {
        if tenants[tenant].isPromised {
            promise(tenant)
        } else {
            makeReady(tenant)
        }
    }

    /// Takes a tenant without frames out of everything; what it used stays noted.
    mutating func deactivate(_ tenant: Int) {
        settleTurn(of: tenant)
        ready.remove(tenant)
        promised.remove(tenant)
        parked.remove(tenant)
        dormant.remove(tenant)
        awaitingPromise.remove(tenant)
    }

    /// Takes a tenant out of the turns until one of its paths may send.
    mutating func rest(_ tenant: Int) {
        deactivate(tenant)
        dormant.insert(tenant, key: 0)
    }

    /// Lets those go on whose time has come.
    @inline(__always)
    mutating func wake(_ now: UInt64) {
        while !parkedPaths.isEmpty && parkedPaths.firstKey <= now { wakePath(parkedPaths.first) }
        while !parked.isEmpty && parked.firstKey <= now {
            let tenant = parked.first
            parked.remove(tenant)
            activate(tenant)
        }
        while !awaitingPromise.isEmpty && awaitingPromise.firstKey <= now {
            let tenant = awaitingPromise.first
            settleTurn(of: tenant)
            awaitingPromise.remove(tenant)
            ready.remove(tenant)
            promise(tenant)
        }
    }

    /// The tenant to serve: the same as before until its turn ends, or until somebody comes who
    /// goes before it; `nil` if nobody may send.
    @inline(__always)
    mutating func nextTenant() -> Int? {
        let isPromised = !promised.isEmpty
        guard isPromised || !ready.isEmpty else { return nil }
        let first = isPromised ? promised.first : ready.first
        if first == turn.tenant && isPromised == turn.isPromised && turn.bytes < turnQuantumBytes {
            return first
        }
        return beginTurn(isPromised: isPromised)
    }

    /// Takes a frame's bytes from the tenant's rates. Who has to wait, or was served what it was
    /// promised, changes places.
    ///
    /// - Returns: `false` if the frame does not leave now.
    mutating func pay(_ size: Int, _ tenant: Int, _ now: UInt64) -> Bool {
        guard let meters = meters[tenant] else { return true }
        if turn.isPromised, let minimum = meters.minimum, !minimum.take(size, now: now) {
            settleTurn(of: tenant)
            promised.remove(tenant)
            makeReady(tenant)
            awaitingPromise.insert(tenant, key: minimum.nextTime(size))
            return false
        }
        if meters.isCapped && !meters.take(byteCount: size, now: now) {
            if turn.isPromised { meters.minimum?.giveBack(size) }
            deactivate(tenant)
            parked.insert(tenant, key: max(meters.nextTime(byteCount: size), now &+ 1))
            return false
        }
        // What goes beyond the promise counts towards it all the same.
        if !turn.isPromised { meters.minimum?.charge(size, now: now) }
        return true
    }

    /// A tenant that waits got a frame that goes before the one it waits with: it may be small
    /// enough to leave earlier, or have a path that is free.
    mutating func reconsider(_ tenant: Int, _ path: Int, _ size: Int) {
        if tenants[tenant].isCapped && parked.contains(tenant) {
            guard let time = meters[tenant]?.nextTime(byteCount: size) else { return }
            if time < parked.key(of: tenant) { parked.setKey(time, of: tenant) }
        } else if paths[path].isActive && dormant.contains(tenant) {
            dormant.remove(tenant)
            activate(tenant)
        }
    }

    /// The tenant with the most bytes for its weight.
    func longestTenant() -> Int? {
        var longest: Int?
        longest = longer(of: longest, and: promised)
        longest = longer(of: longest, and: ready)
        longest = longer(of: longest, and: dormant)
        return longer(of: longest, and: parked)
    }

    private func longer(of tenant: Int?, and heap: borrowing TenantHeap) -> Int? {
        var longest = tenant
        for place in 0..<heap.count {
            let other = heap.member(at: place)
            guard let current = longest else {
                longest = other
                continue
            }
            let otherLength = tenants[other].byteCount &* Int(tenants[current].weight)
            if otherLength > tenants[current].byteCount &* Int(tenants[other].weight) {
                longest = other
            }
        }
        return longest
    }

    private mutating func beginTurn(isPromised: Bool) -> Int {
        settleTurn(of: turn.tenant)
        let tenant = isPromised ? promised.first : ready.first
        turn = Turn(tenant: tenant, isPromised: isPromised)
        if isPromised {
            promisedClock = max(promisedClock, promised.firstKey)
        } else {
            readyClock = max(readyClock, ready.firstKey)
            if readyClock >= Self.clockMax { lowerClock() }
        }
        return tenant
    }

    /// Charges a tenant what it sent in its turn, and ends the turn.
    mutating func settleTurn(of tenant: Int) {
        guard tenant >= 0 && turn.tenant == tenant else { return }
        let bytes = UInt64(turn.bytes)
        if turn.isPromised {
            let price = (bytes &<< Self.promiseBits) / tenants[tenant].promise
            promised.setKey(promised.key(of: tenant) &+ price, of: tenant)
        } else {
            let price = (bytes &<< Self.weightBits) / tenants[tenant].weight
            ready.setKey(ready.key(of: tenant) &+ price, of: tenant)
        }
        turn = Turn()
    }

    private mutating func promise(_ tenant: Int) {
        promised.insert(tenant, key: max(promised.key(of: tenant), promisedClock))
    }

    /// Who used less than its share goes before whom it competes with, by a quantum at most.
    private mutating func makeReady(_ tenant: Int) {
        let head = (UInt64(turnQuantumBytes) &<< Self.weightBits) / tenants[tenant].weight
        let earliest = readyClock &- min(readyClock, head)
        ready.insert(tenant, key: max(ready.key(of: tenant), earliest))
    }

    private mutating func lowerClock() {
        // Keys below the clock by more than a quantum's price are equal to it.
        let amount = readyClock &- (UInt64(quantumBytes) &<< Self.weightBits)
        ready.lowerKeys(by: amount)
        readyClock &-= amount
    }

    /// Tags count bytes over weight in units of 1/1,024.
    private static let weightBits: UInt64 = 10
    /// Tags of promises count bytes over kilobits per second in units of 2^-20: about 2^27 a
    /// second while promises are kept, which no uptime overflows.
    private static let promiseBits: UInt64 = 20
    private static let clockMax: UInt64 = 1 << 62
}
