import PacketFormats

/// The queues of flows: those that begin are served first, the others share.
///
/// Departing from the source, which lets new flows go first without end, so that whoever changes
/// its port for each datagram has the line for itself:
///
/// - Flows that begin are ahead of the old ones by two quanta at most; then they get twice as many
///   bytes as those. Few sparse flows never come near that.
/// - A flow stays known when it has no frames any more. When the next comes within a quarter of a
///   second, as a stream's does and a port's in its turn does not, it goes before the other ones
///   that begin, again by two quanta at most. Who is known is forgotten when the room is needed,
///   those who came back soon at last.
/// - When there is no room, those other ones count together: see ``drop(from:)``.
extension TenantQueues {
    /// The queue for a frame, in the class and path where the frame belongs: found, moved or made.
    @inline(__always)
    mutating func queue(for entry: EgressFrame, _ size: Int, _ now: UInt64) -> Int {
        let tenant = entry.tenant
        let found = flowIndex.find(tenant, entry.flow)
        guard found >= 0 else {
            return makeQueue(for: entry, size, in: path(of: entry.path, tenant))
        }
        var path = Int(flows[found].path)
        if tenants[tenant].pathCount > 0 && paths[path].peer != entry.path {
            path = self.path(of: entry.path, tenant)
        }
        let level = entry.trafficClass.rawValue
        if flows[found].place == .unlisted {
            resume(found, in: path, entry.trafficClass, size, now)
            return found
        }
        if level == flows[found].level && path == Int(flows[found].path) { return found }
        let staysBehind = flows[found].count > 0 && level < flows[found].level
        move(found, to: path, staysBehind ? flows[found].trafficClass : entry.trafficClass)
        return found
    }

    private mutating func makeQueue(
        for entry: EgressFrame, _ size: Int, in path: Int
    ) -> Int {
        if firstFreeFlow < 0 { reclaimFlow() }
        let flow = Int(firstFreeFlow)
        firstFreeFlow = flows[flow].next
        flowIndex.insert(flow, entry.tenant, entry.flow)
        flows[flow] = Flow(
            tenant: Int32(truncatingIfNeeded: entry.tenant),
            path: Int32(truncatingIfNeeded: path), deficit: paths[path].quantumBytes,
            trafficClass: entry.trafficClass, level: entry.trafficClass.rawValue)
        list(flow, size <= Int(paths[path].quantumBytes) ? .new : .old)
        return flow
    }

    /// Lets a known flow begin again.
    private mutating func resume(
        _ flow: Int, in path: Int, _ trafficClass: TrafficClass, _ size: Int, _ now: UInt64
    ) {
        let isSoon = Self.ticks(now) &- flows[flow].latest <= Self.returningTicksMax
        let quantum = paths[path].quantumBytes
        flows[flow].path = Int32(truncatingIfNeeded: path)
        flows[flow].trafficClass = trafficClass
        flows[flow].level = trafficClass.rawValue
        flows[flow].deficit = quantum
        flows[flow].sojourn = SojournState()
        flows[flow].isRecent = isSoon
        list(flow, size > Int(quantum) ? .old : isSoon ? .returning : .new)
    }

    /// Frees a queue that has no frames, which there is: they are twice as many as frames. Those
    /// that came back since the last time are passed over once (the clock algorithm).
    private mutating func reclaimFlow() {
        while flows[flowHand].count > 0 || flows[flowHand].isRecent {
            if flows[flowHand].count == 0 { flows[flowHand].isRecent = false }
            advanceHand()
        }
        free(flowHand)
        advanceHand()
    }

    private mutating func advanceHand() {
        flowHand = flowHand &+ 1 == flows.count ? 0 : flowHand &+ 1
    }

    /// Forgets a flow without frames.
    mutating func free(_ flow: Int) {
        unlist(flow)
        flowIndex.remove(flow)
        flows[flow] = Flow(next: firstFreeFlow)
        firstFreeFlow = Int32(truncatingIfNeeded: flow)
    }

    /// Takes a flow with all its frames to another class or path: new stays new, and in a list it
    /// goes to the end.
    mutating func move(_ flow: Int, to path: Int, _ trafficClass: TrafficClass) {
        let (frameCount, bytes) = (Int(flows[flow].count), flows[flow].byteCount)
        let place = flows[flow].place
        unlist(flow)
        if frameCount > 0 {
            lengths.note(flow, of: group(of: flow), length: nil)
            subtract(frameCount, bytes, from: Int(flows[flow].path), Int(flows[flow].level))
        }
        flows[flow].path = Int32(truncatingIfNeeded: path)
        flows[flow].trafficClass = trafficClass
        flows[flow].level = trafficClass.rawValue
        let quantum = paths[path].quantumBytes
        flows[flow].deficit = max(-quantum, min(flows[flow].deficit, quantum))
        list(flow, place == .due ? .old : place)
        guard frameCount > 0 else { return }
        add(frameCount, bytes, to: path, Int(flows[flow].level))
        lengths.note(flow, of: group(of: flow), length: bytes)
    }

    @inline(__always)
    mutating func append(_ frame: Int32, _ size: Int, to flow: Int, _ now: UInt64) {
        let previous = flows[flow].append(frame, size)
        flows[flow].latest = Self.ticks(now)
        let (place, length) = (flows[flow].place, flows[flow].byteCount)
        let (path, level) = (Int(flows[flow].path), Int(flows[flow].level))
        if previous >= 0 { frames[Int(previous)].next = frame }
        if place == .due { linkDue(frame, flow) }
        let group = path &* Self.classCount &+ level
        if place == .new { classes[group].newBytes &+= size }
        add(1, size, to: path, level)
        lengths.note(flow, of: group, length: length)
    }

    /// The flow whose turn it is, of a class that has frames; asked twice, it is the same.
    @inline(__always)
    mutating func nextFlow(of path: Int, _ level: Int) -> (flow: Int, isNew: Bool) {
        let group = path &* Self.classCount &+ level
        if level == Self.activation {
            return (Int(dueLinks[Int(classes[group].due.first)].flow), false)
        }
        while true {
            let flow = firstFlow(of: group, Int(paths[path].quantumBytes))
            let isNew = flows[flow].place != .old
            if flows[flow].deficit <= 0 {
                if !isNew && flows[flow].next < 0 { skipRounds(flow, path) }
                flows[flow].deficit &+= paths[path].quantumBytes
                unlist(flow)
                list(flow, .old)
                continue
            }
            if flows[flow].first >= 0 { return (flow, isNew) }
            // An empty new flow waits among the old ones once, so that it cannot come back before
            // each of them has had a turn.
            unlist(flow)
            if isNew && !classes[group].oldFlows.isEmpty { list(flow, .old) }
        }
    }

    /// The flow at the beginning of the list whose turn it is.
    @inline(__always)
    private func firstFlow(of group: Int, _ quantum: Int) -> Int {
        let (old, new) = (classes[group].oldFlows.first, classes[group].newFlows.first)
        let returning = classes[group].returningFlows.first
        // Both are below 0.
        if returning & new < 0 { return Int(old) }
        let bound = Self.aheadQuanta &* quantum
        if old >= 0 && Int(classes[group].ahead) >= bound { return Int(old) }
        let isBehind = new >= 0 && Int(classes[group].returningAhead) >= bound
        return Int(returning >= 0 && !isBehind ? returning : new)
    }

    /// Notes what a flow was served, before its frame is taken out.
    @inline(__always)
    mutating func chargeFlow(_ flow: Int, _ byteCount: Int) {
        // By age there are no rounds, and nothing is owed to any.
        guard flows[flow].place != .due else { return }
        // A round of large frames does not go on where a round is a packet by now.
        let quantum = paths[Int(flows[flow].path)].quantumBytes
        flows[flow].deficit =
            min(flows[flow].deficit, quantum) &- Int32(truncatingIfNeeded: byteCount)
        let group = group(of: flow)
        guard flows[flow].place != .old else {
            if classes[group].ahead > 0 { Self.repay(&classes[group].ahead, byteCount) }
            return
        }
        let bound = Self.aheadQuanta &* Int(quantum)
        if !classes[group].oldFlows.isEmpty {
            Self.advance(&classes[group].ahead, byteCount, bound)
        }
        if flows[flow].place == .new {
            Self.repay(&classes[group].returningAhead, byteCount)
        } else if !classes[group].newFlows.isEmpty {
            Self.advance(&classes[group].returningAhead, byteCount, bound)
        }
    }

    @inline(__always)
    private static func advance(_ ahead: inout Int32, _ byteCount: Int, _ bound: Int) {
        ahead = Int32(truncatingIfNeeded: min(Int(ahead) &+ byteCount, bound))
    }

    @inline(__always)
    private static func repay(_ ahead: inout Int32, _ byteCount: Int) {
        ahead = Int32(truncatingIfNeeded: max(Int(ahead) &- aheadQuanta &* byteCount, 0))
    }

    @inline(__always)
    mutating func removeHead(of flow: Int) {
        let frame = flows[flow].first
        let index = Int(frame)
        let size = Int(frames[index].byteCount)
        let next = frames[index].next
        if flows[flow].place == .due { unlinkDue(frame, flow) }
        flows[flow].removeFirst(size, next: next)
        let (place, length) = (flows[flow].place, flows[flow].byteCount)
        let (tenant, path) = (Int(flows[flow].tenant), Int(flows[flow].path))
        let level = Int(flows[flow].level)
        frames[index].next = firstFree
        firstFree = frame
        let group = path &* Self.classCount &+ level
        if place == .new { classes[group].newBytes &-= size }
        lengths.note(flow, of: group, length: next < 0 ? nil : length)
        subtract(1, size, from: path, level)
        tenants[tenant].add(-1, -size)
        count &-= 1
        byteCount &-= size
        if next < 0 && place == .due { flows[flow].place = .unlisted }
    }

    /// Of a flow in ``lengths``, and of its class in ``classes``.
    @inline(__always)
    func group(of flow: Int) -> Int {
        Int(flows[flow].path) &* Self.classCount &+ Int(flows[flow].level)
    }

    /// Gives the only old flow there is all but the last of the rounds that it would wait for.
    private mutating func skipRounds(_ flow: Int, _ path: Int) {
        let quantum = paths[path].quantumBytes
        flows[flow].deficit &+= -flows[flow].deficit / quantum &* quantum
    }

    /// Puts a flow that is in no list at the end of one of its class's.
    @inline(__always)
    mutating func list(_ flow: Int, _ place: Flow.Place) {
        if Int(flows[flow].level) == Self.activation { return listDue(flow) }
        let group = group(of: flow)
        let number = Int32(truncatingIfNeeded: flow)
        var list = classes[group].list(place)
        flows[flow].place = place
        flows[flow].next = -1
        flows[flow].previous = list.last
        if list.isEmpty { list.first = number } else { flows[Int(list.last)].next = number }
        list.last = number
        classes[group].set(list, place)
        if place == .new { classes[group].newBytes &+= flows[flow].byteCount }
    }

    @inline(__always)
    mutating func unlist(_ flow: Int) {
        let place = flows[flow].place
        if place == .due { return unlistDue(flow) }
        guard place != .unlisted else { return }
        let group = group(of: flow)
        let (next, previous) = (flows[flow].next, flows[flow].previous)
        var list = classes[group].list(place)
        if previous >= 0 { flows[Int(previous)].next = next } else { list.first = next }
        if next >= 0 { flows[Int(next)].previous = previous } else { list.last = previous }
        classes[group].set(list, place)
        if place == .new { classes[group].newBytes &-= flows[flow].byteCount }
        flows[flow].place = .unlisted
    }

    // MARK: By age

    private mutating func listDue(_ flow: Int) {
        flows[flow].place = .due
        var frame = flows[flow].first
        while frame >= 0 {
            linkDue(frame, flow)
            frame = frames[Int(frame)].next
        }
    }

    private mutating func unlistDue(_ flow: Int) {
        var frame = flows[flow].first
        while frame >= 0 {
            unlinkDue(frame, flow)
            frame = frames[Int(frame)].next
        }
        flows[flow].place = .unlisted
    }

    private mutating func linkDue(_ frame: Int32, _ flow: Int) {
        let group = group(of: flow)
        let last = classes[group].due.last
        dueLinks[Int(frame)] = DueLink(
            previous: last, flow: Int32(truncatingIfNeeded: flow))
        if last >= 0 {
            dueLinks[Int(last)].next = frame
        } else {
            classes[group].due.first = frame
        }
        classes[group].due.last = frame
    }

    private mutating func unlinkDue(_ frame: Int32, _ flow: Int) {
        let group = group(of: flow)
        let link = dueLinks[Int(frame)]
        if link.previous >= 0 {
            dueLinks[Int(link.previous)].next = link.next
        } else {
            classes[group].due.first = link.next
        }
        if link.next >= 0 {
            dueLinks[Int(link.next)].previous = link.previous
        } else {
            classes[group].due.last = link.previous
        }
    }

    /// How far flows that begin may be ahead of others, and then how many bytes they get for each
    /// one of the others.
    static var aheadQuanta: Int { 2 }
    /// A quarter of a second.
    private static var returningTicksMax: UInt32 { 256 }

    /// About milliseconds.
    @inline(__always)
    static func ticks(_ now: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: now &>> 20) }
}

extension TenantQueues.ClassQueue {
    @inline(__always)
    fileprivate func list(_ place: TenantQueues.Flow.Place) -> TenantQueues.LinkedList {
        switch place {
        case .returning: returningFlows
        case .new: newFlows
        case .old, .due, .unlisted: oldFlows
        }
    }

    @inline(__always)
    fileprivate mutating func set(
        _ list: TenantQueues.LinkedList, _ place: TenantQueues.Flow.Place
    ) {
        switch place {
        case .returning: returningFlows = list
        case .new: newFlows = list
        case .old, .due, .unlisted: oldFlows = list
        }
    }
}
