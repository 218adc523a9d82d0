import PacketFormats

/// Frames waiting to be encrypted, a queue for each flow; sparse flows are served first.
///
/// A flow that begins to send is new and goes before the old ones until it has used up its
/// quantum, so a token packet passes a bulk transfer. Old flows share by deficit round robin, in
/// bytes. Departing from the source, a flow that begins with a frame larger than the quantum is
/// old at once: a TUN frame can be 64 KiB, and nothing with such frames is sparse.
///
/// Holds frame slot numbers only; never allocates after `init`.
/// Source: RFC 8290, sections 4.1 and 4.2, without the CoDel part.
public struct FlowQueues: ~Copyable {
    /// Queues that flows are hashed to: a power of two.
    public let flowCount: Int
    /// Frames that fit.
    public let frameCapacity: Int
    /// Bytes a flow may send each round.
    public let quantumBytes: Int
    /// Frames waiting.
    public private(set) var count = 0
    /// Their bytes.
    public private(set) var byteCount = 0

    private var flows: FixedTable<Flow>
    private var frames: FixedTable<Frame>
    private var firstFree: Int32 = 0
    private var newFlows = FlowList()
    private var oldFlows = FlowList()

    private struct Frame {
        var slot: Int32
        var byteCount: Int32
        /// The next frame of the flow, or the next free record; -1 at the end.
        var next: Int32
        var enqueuedAt: UInt64
    }

    private struct Flow {
        var first: Int32 = -1
        var last: Int32 = -1
        /// The flow served after this one; -1 at the end of its list.
        var next: Int32 = -1
        var isListed = false
        /// Bytes the flow may still send in this round; after a large frame it owes some.
        var deficit = 0
        var byteCount = 0
    }

    /// Flows in the order in which they are served, linked by their own `next`.
    private struct FlowList {
        private(set) var first: Int32 = -1
        private var last: Int32 = -1
        var isEmpty: Bool { first < 0 }
        /// Whether there is but one flow; asked only of a list that is not empty.
        var isSingle: Bool { first == last }

        mutating func append(_ flow: Int, in flows: inout FixedTable<Flow>) {
            let number = Int32(truncatingIfNeeded: flow)
            flows[flow].next = -1
            if isEmpty { first = number } else { flows[Int(last)].next = number }
            last = number
        }

        mutating func removeFirst(in flows: borrowing FixedTable<Flow>) {
            first = flows[Int(first)].next
        }
    }

    /// - Parameter flowCount: Rounded up to a power of two, at most 65,536.
    /// - Parameter frameCapacity: At least 1.
    /// - Parameter quantumBytes: At least 1; about one packet of full size.
    public init(flowCount: Int = 1_024, frameCapacity: Int, quantumBytes: Int) {
        precondition(flowCount > 0 && flowCount <= 65_536, "flows are 1 to 65,536")
        precondition(
            frameCapacity > 0 && frameCapacity < Int(Int32.max), "frames are numbered in 32 bits")
        precondition(quantumBytes > 0, "a flow is given at least a byte a round")
        let bits = Int.bitWidth - (flowCount - 1).leadingZeroBitCount
        self.flowCount = 1 << bits
        self.frameCapacity = frameCapacity
        self.quantumBytes = quantumBytes
        flows = FixedTable(repeating: Flow(), count: self.flowCount)
        frames = FixedTable(
            repeating: Frame(slot: 0, byteCount: 0, next: -1, enqueuedAt: 0),
            count: frameCapacity)
        for index in 0..<frameCapacity - 1 { frames[index].next = Int32(index + 1) }
    }

    // Written out so that users in other modules call it instead of taking the tables apart
    // themselves: their record types are private.
    deinit {}

    /// Puts a frame at the end of its flow's queue.
    ///
    /// - Parameter slot: The caller's number for the frame.
    /// - Parameter byteCount: What the frame counts for; 0 or more.
    /// - Parameter now: Monotonic nanoseconds.
    /// - Returns: `false`, with nothing changed, when full: see ``dropFromLongest()``.
    public mutating func enqueue(
        slot: Int32, flowHash: UInt32, byteCount size: Int, now: UInt64
    ) -> Bool {
        guard firstFree >= 0 else { return false }
        let frame = firstFree
        let index = Int(frame)
        let size = max(0, min(size, Int(Int32.max)))
        firstFree = frames[index].next
        frames[index] = Frame(
            slot: slot, byteCount: Int32(truncatingIfNeeded: size), next: -1, enqueuedAt: now)
        let flow = Int(flowHash) & (flowCount &- 1)
        let last = flows[flow].last
        if last >= 0 { frames[Int(last)].next = frame } else { flows[flow].first = frame }
        flows[flow].last = frame
        flows[flow].byteCount &+= size
        if !flows[flow].isListed {
            flows[flow].isListed = true
            flows[flow].deficit = quantumBytes
            if size <= quantumBytes {
                newFlows.append(flow, in: &flows)
            } else {
                oldFlows.append(flow, in: &flows)
            }
        }
        count &+= 1
        byteCount &+= size
        return true
    }

    /// Takes the frame whose turn it is.
    ///
    /// - Returns: The frame's slot, whether its flow was served as a sparse one, and how long the
    ///   frame has waited; `nil` when nothing waits.
    /// - Complexity: O(1) amortized while frames are no larger than the quantum; a frame of n
    ///   quanta costs its flow n rounds.
    public mutating func dequeue(
        now: UInt64
    ) -> (slot: Int32, isSparse: Bool, sojournNanoseconds: UInt64)? {
        guard count > 0 else { return nil }
        while true {
            let isSparse = !newFlows.isEmpty
            let flow = Int(isSparse ? newFlows.first : oldFlows.first)
            if flows[flow].deficit <= 0 {
                if !isSparse && oldFlows.isSingle { skipRounds(flow) }
                flows[flow].deficit &+= quantumBytes
                removeFirst(isNew: isSparse)
                oldFlows.append(flow, in: &flows)
                continue
            }
            let frame = flows[flow].first
            guard frame >= 0 else {
                removeFirst(isNew: isSparse)
                // An empty new flow waits among the old ones once, so that it cannot come back as
                // new before each of them has had a turn.
                if isSparse && !oldFlows.isEmpty {
                    oldFlows.append(flow, in: &flows)
                } else {
                    flows[flow].isListed = false
                }
                continue
            }
            let record = frames[Int(frame)]
            removeHead(of: flow)
            flows[flow].deficit &-= Int(record.byteCount)
            let waited = now >= record.enqueuedAt ? now &- record.enqueuedAt : 0
            return (record.slot, isSparse, waited)
        }
    }

    /// Removes the oldest frame of the flow that holds the most bytes, to make room.
    ///
    /// - Returns: The frame's slot, which is the caller's again; `nil` when nothing waits.
    /// - Complexity: O(flows that have frames).
    /// Source: RFC 8290, section 4.1.3.
    public mutating func dropFromLongest() -> Int32? {
        guard count > 0 else { return nil }
        var longest = -1
        longest = longer(of: longest, andListFrom: newFlows.first)
        longest = longer(of: longest, andListFrom: oldFlows.first)
        guard longest >= 0 else { return nil }
        let slot = frames[Int(flows[longest].first)].slot
        removeHead(of: longest)
        return slot
    }
}

extension FlowQueues {
    /// Gives the only flow there is all but the last of the rounds that it would wait for.
    private mutating func skipRounds(_ flow: Int) {
        let owed = -flows[flow].deficit
        flows[flow].deficit &+= owed / quantumBytes &* quantumBytes
    }

    /// The flow with the most bytes among one (-1: none) and those of a list.
    private func longer(of flow: Int, andListFrom first: Int32) -> Int {
        var longest = flow
        var flow = Int(first)
        while flow >= 0 {
            if flows[flow].first >= 0,
                longest < 0 || flows[flow].byteCount > flows[longest].byteCount
            {
                longest = flow
            }
            flow = Int(flows[flow].next)
        }
        return longest
    }

    private mutating func removeHead(of flow: Int) {
        let frame = flows[flow].first
        let index = Int(frame)
        let size = Int(frames[index].byteCount)
        let next = frames[index].next
        flows[flow].first = next
        if next < 0 { flows[flow].last = -1 }
        flows[flow].byteCount &-= size
        frames[index].next = firstFree
        firstFree = frame
        count &-= 1
        byteCount &-= size
    }

    private mutating func removeFirst(isNew: Bool) {
        if isNew {
            newFlows.removeFirst(in: flows)
        } else {
            oldFlows.removeFirst(in: flows)
        }
    }
}
