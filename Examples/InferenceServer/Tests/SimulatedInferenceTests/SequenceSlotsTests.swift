import Testing

@testable import SimulatedInference

@Suite struct SequenceSlotsTests {
    @Test func claimsBeyondTheLimitWaitInOrder() async throws {
        let slots = SequenceSlots(runningMax: 1, waitingMax: 2)
        let tickets = try (0..<3).map { _ in try #require(slots.claim()) }
        #expect(slots.occupancy == .init(running: 1, waiting: 2))
        try await slots.turn(of: tickets[0])
        slots.release(tickets[0])
        try await slots.turn(of: tickets[1])
        #expect(slots.occupancy == .init(running: 1, waiting: 1))
        slots.release(tickets[1])
        try await slots.turn(of: tickets[2])
        slots.release(tickets[2])
        #expect(slots.occupancy == .init(running: 0, waiting: 0))
    }

    @Test func claimBeyondTheQueueIsRefused() throws {
        let slots = SequenceSlots(runningMax: 1, waitingMax: 1)
        let running = try #require(slots.claim())
        _ = try #require(slots.claim())
        #expect(slots.claim() == nil)
        slots.release(running)
        #expect(slots.claim() != nil)
    }

    @Test func cancelledWaiterLeavesTheQueue() async throws {
        let slots = SequenceSlots(runningMax: 1, waitingMax: 2)
        let running = try #require(slots.claim())
        let leaving = try #require(slots.claim())
        let staying = try #require(slots.claim())
        let wait = Task { try await slots.turn(of: leaving) }
        wait.cancel()
        await #expect(throws: CancellationError.self) { try await wait.value }
        slots.release(leaving)
        #expect(slots.occupancy == .init(running: 1, waiting: 1))
        slots.release(running)
        try await slots.turn(of: staying)
        #expect(slots.occupancy == .init(running: 1, waiting: 0))
    }

    @Test func releaseWakesASuspendedWaiter() async throws {
        let slots = SequenceSlots(runningMax: 1, waitingMax: 1)
        let running = try #require(slots.claim())
        let waiting = try #require(slots.claim())
        async let turn: Void = slots.turn(of: waiting)
        await Task.yield()
        slots.release(running)
        try await turn
        #expect(slots.occupancy == .init(running: 1, waiting: 0))
    }
}
