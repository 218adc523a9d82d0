import EgressScheduling
import PacketFormats
import Testing

/// The flows of one tenant.
@Suite struct TenantFlowTests {
    private func makeQueues(
        frameCapacity: Int, quantumBytes: Int
    ) -> TenantQueues {
        var queues = TenantQueues(frameCapacity: frameCapacity, quantumBytes: quantumBytes)
        queues.add(tenant: 0, limits: TenantLimits())
        return queues
    }

    private func drain(_ queues: inout TenantQueues, now: UInt64 = 0) -> [Int32] {
        var slots: [Int32] = []
        while let next = queues.dequeue(now: now) { slots.append(next.slot) }
        return slots
    }

    private func fill(_ queues: inout TenantQueues, _ frames: [(Int32, UInt32, Int)]) {
        for (slot, flow, size) in frames {
            let isAdded = queues.enqueue(bulk(slot, of: 0, flow: flow, size), now: 0)
            #expect(isAdded)
        }
    }

    @Test func orderWithinAFlowIsKept() {
        var queues = makeQueues(frameCapacity: 100, quantumBytes: 1_500)
        fill(&queues, (0..<50).map { ($0, 7, 1_000) })
        #expect(drain(&queues) == Array(0..<50))
    }

    @Test func aSparseFlowPassesBulk() {
        var queues = makeQueues(frameCapacity: 200, quantumBytes: 1_500)
        fill(&queues, (0..<100).map { ($0, 1, 1_500) })
        for _ in 0..<10 { _ = queues.dequeue(now: 0) }
        fill(&queues, [(1_000, 2, 100)])
        let first = queues.dequeue(now: 0)
        #expect(first?.slot == 1_000)
        #expect(first?.isSparse == true)
        let second = queues.dequeue(now: 0)
        #expect(second?.slot == 10)
        #expect(second?.isSparse == false)
    }

    @Test func aFlowThatUsesUpItsQuantumIsNoLongerSparse() {
        var queues = makeQueues(frameCapacity: 200, quantumBytes: 1_500)
        fill(&queues, (0..<4).map { ($0, 1, 700) })
        var sparse: [Bool] = []
        while let next = queues.dequeue(now: 0) { sparse.append(next.isSparse) }
        #expect(sparse == [true, true, true, false])
    }

    @Test func aFlowThatBeginsWithALargeFrameIsNeverSparse() {
        for (size, isSparse) in [(1_500, true), (1_501, false), (65_535, false)] {
            var queues = makeQueues(frameCapacity: 4, quantumBytes: 1_500)
            fill(&queues, [(1, 1, size)])
            #expect(queues.dequeue(now: 0)?.isSparse == isSparse)
        }
    }

    @Test func aFlowCannotStayNewByComingBack() {
        // A flow that always empties its queue must not starve the old one.
        var queues = makeQueues(frameCapacity: 1_000, quantumBytes: 1_500)
        fill(&queues, (0..<100).map { ($0, 1, 1_500) })
        for _ in 0..<2 { _ = queues.dequeue(now: 0) }
        var bulk = 0
        for _ in 0..<60 {
            fill(&queues, [(1_000, 2, 1_500)])
            if let next = queues.dequeue(now: 0), next.slot < 1_000 { bulk += 1 }
        }
        #expect(bulk >= 25)
    }

    @Test func bulkFlowsShareByBytes() {
        let sizes = [64, 300, 1_400, 9_000, 65_535]
        var queues = makeQueues(frameCapacity: 100_000, quantumBytes: 1_500)
        for (flow, size) in sizes.enumerated() {
            let count = 4_000_000 / size
            fill(&queues, (0..<count).map { _ in (Int32(flow), UInt32(flow), size) })
        }
        var sent = [Int](repeating: 0, count: sizes.count)
        var total = 0
        while total < 10_000_000, let next = queues.dequeue(now: 0) {
            sent[Int(next.slot)] += sizes[Int(next.slot)]
            total += sizes[Int(next.slot)]
        }
        // Deficit round robin errs by at most a frame and a quantum each (RFC 8290, section 4.2).
        for bytes in sent { #expect(abs(bytes - total / sizes.count) <= 65_535 + 1_500) }
    }

    @Test func aLoneFlowWithLargeFramesIsServedAtOnce() {
        var queues = makeQueues(frameCapacity: 100, quantumBytes: 1)
        fill(&queues, (0..<100).map { ($0, 5, 65_535) })
        #expect(drain(&queues) == Array(0..<100))
    }

    /// What was served by age is not owed to the flows of another class.
    @Test func aFlowThatWasServedByAgeOwesNothing() {
        var queues = makeQueues(frameCapacity: 100, quantumBytes: 1_514)
        for _ in 0..<8_000 {
            _ = queues.enqueue(frame(1, .activation, flow: 1, 1_500), now: 0)
            if queues.count > 1 { _ = queues.dequeue(now: 0) }
        }
        for _ in 0..<40 {
            _ = queues.enqueue(frame(1, .background, flow: 1, 1_500), now: 0)
            _ = queues.enqueue(frame(2, .background, flow: 2, 1_500), now: 0)
        }
        let slots = drain(&queues)
        for end in stride(from: 20, through: 80, by: 20) {
            let first = slots.prefix(end).count { $0 == 1 }
            #expect(abs(2 * first - end) <= 6, "\(first) of \(end)")
        }
    }

    @Test func waitingTimeIsToldAndNeverNegative() {
        var queues = makeQueues(frameCapacity: 4, quantumBytes: 1_500)
        for now in [UInt64(100), 200] {
            _ = queues.enqueue(bulk(1, of: 0, flow: 1, 10), now: now)
        }
        #expect(queues.dequeue(now: 150)?.sojournNanoseconds == 50)
        #expect(queues.dequeue(now: 150)?.sojournNanoseconds == 0)
        let isEmpty = queues.dequeue(now: 150) == nil
        #expect(isEmpty)
    }

    @Test(arguments: [1, 2, 7])
    func exactlyTheCapacityFits(capacity: Int) {
        var queues = makeQueues(frameCapacity: capacity, quantumBytes: 1_500)
        for round in 0..<3 {
            fill(&queues, (0..<capacity).map { (Int32($0), UInt32($0), 10) })
            let isAdded = queues.enqueue(bulk(99, of: 0, flow: 0, 10), now: 0)
            #expect(!isAdded)
            let totals = [queues.count, queues.byteCount]
            #expect(totals == [capacity, capacity * 10], "round \(round)")
            #expect(drain(&queues).sorted() == (0..<capacity).map { Int32($0) })
            let after = [queues.count, queues.byteCount]
            #expect(after == [0, 0])
        }
    }

    @Test func theValveTakesTheOldestOfALongFlow() {
        var queues = makeQueues(frameCapacity: 10, quantumBytes: 1_500)
        fill(&queues, [(1, 1, 100), (2, 2, 900), (3, 2, 50), (4, 3, 400), (5, 1, 100)])
        var dropped: [Int32] = []
        while let next = queues.dropFromLongest(of: 0) { dropped.append(next.slot) }
        #expect(dropped == [2, 4, 1, 5, 3])
        let totals = [queues.count, queues.byteCount]
        #expect(totals == [0, 0])
    }

    @Test func aFullQueueTakesAnotherAfterADrop() {
        var queues = makeQueues(frameCapacity: 2, quantumBytes: 1_500)
        fill(&queues, [(1, 1, 10), (2, 2, 20)])
        let refused = queues.enqueue(bulk(3, of: 0, flow: 3, 1), now: 0)
        #expect(!refused)
        let dropped = queues.dropFromLongest(of: 0)
        #expect(dropped?.slot == 2)
        let accepted = queues.enqueue(bulk(3, of: 0, flow: 3, 1), now: 0)
        #expect(accepted)
        #expect(drain(&queues) == [1, 3])
    }
}
