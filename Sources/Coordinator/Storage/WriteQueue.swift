import ControlModel
import Synchronization

/// Gathers writes, so that those that wait while one transaction goes to disk share the next.
///
/// 1. A write waits here, with its caller. (parallel)
/// 2. One task takes all that wait and has them committed together. (serial)
/// 3. Each caller gets its answer after the commit.
final class WriteQueue: Sendable {
    private struct State {
        var waiting: [PendingWrite] = []
        var isRunning = false
        var isClosed = false
        /// Whoever waits for the end of what is running.
        var closing: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())
    private let commit: @Sendable ([PendingWrite]) async -> Void

    /// - Parameter commit: Commits the writes together, and answers each of them once.
    init(commit: @escaping @Sendable ([PendingWrite]) async -> Void) { self.commit = commit }

    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageConnection) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let write = PendingWrite(
                run: { connection in
                    let value = try body(connection)
                    return { continuation.resume(returning: value) }
                },
                fail: { continuation.resume(throwing: $0) })
            enqueue(write)
        }
    }

    /// Waits for what is queued; everything afterwards fails.
    func close() async {
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                state.isClosed = true
                if state.isRunning { state.closing.append(continuation) }
                return !state.isRunning
            }
            if isIdle { continuation.resume() }
        }
    }

    private func enqueue(_ write: PendingWrite) {
        enum Outcome { case waits, starts, closed, full }
        let outcome: Outcome = state.withLock { state in
            guard !state.isClosed else { return .closed }
            guard state.waiting.count < Self.waitingMax else { return .full }
            state.waiting.append(write)
            guard !state.isRunning else { return .waits }
            state.isRunning = true
            return .starts
        }
        switch outcome {
        case .waits: break
        case .starts: Task { await drain() }
        case .closed:
            write.fail(CoordinatorAPI.Problem.storageUnavailable("the coordinator is stopping"))
        case .full:
            write.fail(
                CoordinatorAPI.Problem.storageUnavailable(
                    "too many changes wait for the disk: try again later"))
        }
    }

    private func drain() async {
        while let batch = next() { await commit(batch) }
    }

    private func next() -> [PendingWrite]? {
        let (batch, closing) = state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.isRunning = false
                defer { state.closing = [] }
                return ([PendingWrite]?.none, state.closing)
            }
            let batch = Array(state.waiting.prefix(Self.batchMax))
            state.waiting.removeFirst(batch.count)
            return (batch, [])
        }
        for continuation in closing { continuation.resume() }
        return batch
    }

    /// Bounds how long the first of a batch waits for the last.
    private static let batchMax = 64
    private static let waitingMax = 10_000
}

/// One write with the caller that waits for it.
struct PendingWrite: Sendable {
    /// Changes what it changes. What it returns answers the caller, and is called after the commit.
    let run: @Sendable (any StorageConnection) throws -> @Sendable () -> Void
    let fail: @Sendable (any Error) -> Void
}

/// A connection that can hold several writes in one transaction.
protocol BatchConnection: StorageConnection {
    func commit() throws
    /// Ends the transaction, or the connection where that is impossible.
    func rollBack()
    /// `false` once the database, or its end, has taken the transaction back.
    var isInTransaction: Bool { get }
    func beginPart() throws
    func keepPart() throws
    func dropPart() throws
}

extension BatchConnection {
    /// Commits all writes of a batch but those that throw, and answers every one of them.
    ///
    /// Nobody hears of an outcome before the commit: even a refusal may rest on what another write
    /// of the batch did.
    ///
    /// - Parameter begin: Begins the transaction.
    func commit(_ batch: [PendingWrite], beginning begin: () throws -> Void) {
        var answers: [@Sendable () -> Void] = []
        do {
            try begin()
            for write in batch { answers.append(try outcome(of: write, isAlone: batch.count == 1)) }
            try commit()
        } catch {
            rollBack()
            for write in batch { write.fail(error) }
            return
        }
        for answer in answers { answer() }
    }

    /// - Throws: Where the whole transaction is lost.
    private func outcome(
        of write: PendingWrite, isAlone: Bool
    ) throws -> @Sendable () -> Void {
        if isAlone { return try write.run(self) }
        try beginPart()
        do {
            let answer = try write.run(self)
            try keepPart()
            return answer
        } catch {
            guard isInTransaction else { throw error }
            try dropPart()
            return { write.fail(error) }
        }
    }
}
