import LinuxNetworking
import Synchronization

/// Runs asynchronous work to its end, for commands that do one thing after the other.
func runAsync(_ body: @escaping @Sendable () async throws -> Void) throws {
    let outcome = Outcome()
    let done = try EventDescriptor()
    let task = Task.detached {
        do {
            try await body()
            outcome.result.withLock { $0 = .success(()) }
        } catch {
            outcome.result.withLock { $0 = .failure(error) }
        }
        done.signal()
    }
    let loop = try EventLoop(capacity: 1)
    try loop.add(done.fileDescriptor, token: 0, events: .readable)
    while true {
        _ = loop.wait(timeoutNanoseconds: 200_000_000)
        if let result = outcome.result.withLock({ $0 }) { return try result.get() }
        do {
            try Interruption.check()
        } catch {
            // The work undoes what it has done.
            task.cancel()
            _ = loop.wait(timeoutNanoseconds: 10_000_000_000)
            throw error
        }
    }
}

private final class Outcome: Sendable {
    let result = Mutex<Result<Void, any Error>?>(nil)
}
