import Synchronization

/// Places for generations: a fixed number run, the rest wait in order of arrival.
final class SequenceSlots: Sendable {
    /// One request's claim; give it back with ``release(_:)``.
    struct Ticket: Hashable, Sendable {
        fileprivate let number: UInt64
    }

    /// Claims by their state.
    struct Occupancy: Sendable, Equatable {
        var running: Int
        var waiting: Int
    }

    private struct Waiter {
        let ticket: Ticket
        /// Set once the request's task has come to wait.
        var continuation: CheckedContinuation<Void, any Error>?
    }

    private struct State {
        var nextNumber: UInt64 = 0
        var running: Set<Ticket> = []
        var waiting: [Waiter] = []
    }

    private let state = Mutex(State())
    private let runningMax: Int
    private let waitingMax: Int

    init(runningMax: Int, waitingMax: Int) {
        self.runningMax = runningMax
        self.waitingMax = waitingMax
    }

    var occupancy: Occupancy {
        state.withLock { Occupancy(running: $0.running.count, waiting: $0.waiting.count) }
    }

    /// Claims a place, or one in the queue.
    /// - Returns: `nil` when the queue is full.
    func claim() -> Ticket? {
        state.withLock { state in
            let ticket = Ticket(number: state.nextNumber)
            if state.running.count < runningMax {
                state.running.insert(ticket)
            } else if state.waiting.count < waitingMax {
                state.waiting.append(Waiter(ticket: ticket))
            } else {
                return nil
            }
            state.nextNumber += 1
            return ticket
        }
    }

    /// Returns once the claim runs.
    /// - Throws: `CancellationError` when the task is cancelled before that.
    func turn(of ticket: Ticket) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let outcome: Result<Void, any Error>? = state.withLock { state in
                    if state.running.contains(ticket) { return .success(()) }
                    guard let index = state.waiting.firstIndex(where: { $0.ticket == ticket })
                    else { return .failure(CancellationError()) }
                    state.waiting[index].continuation = continuation
                    return nil
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            giveUpWaiting(ticket)
        }
    }

    /// Gives a claim back, whether it runs or waits; the longest waiting one takes its place.
    func release(_ ticket: Ticket) {
        giveUpWaiting(ticket)
        let promoted: [Waiter] = state.withLock { state in
            state.running.remove(ticket)
            let room = min(runningMax - state.running.count, state.waiting.count)
            let promoted = Array(state.waiting.prefix(room))
            state.waiting.removeFirst(room)
            state.running.formUnion(promoted.map(\.ticket))
            return promoted
        }
        for waiter in promoted { waiter.continuation?.resume() }
    }

    private func giveUpWaiting(_ ticket: Ticket) {
        let waiter: Waiter? = state.withLock { state in
            state.waiting.firstIndex { $0.ticket == ticket }.map { state.waiting.remove(at: $0) }
        }
        waiter?.continuation?.resume(throwing: CancellationError())
    }
}
