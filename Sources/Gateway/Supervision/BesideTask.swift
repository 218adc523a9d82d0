/// Work beside a tenant, whose end is waited for, but not for ever.
final class BesideTask: Sendable {
    private let task: Task<Void, Never>

    init(_ body: @escaping @Sendable () async -> Void) {
        task = Task.detached { await body() }
    }

    /// Cancels the work, and waits a moment for what it does at its end.
    func finish() async {
        task.cancel()
        let (ends, end) = AsyncStream<Void>.makeStream()
        let done = Task.detached { [task] in
            await task.value
            end.finish()
        }
        let deadline = Task.detached {
            try? await Task.sleep(for: .seconds(Self.finishSecondsMax))
            end.finish()
        }
        // Not cancelled with whoever waits.
        await Task.detached { for await _ in ends {} }.value
        done.cancel()
        deadline.cancel()
    }

    private static let finishSecondsMax: Int64 = 2
}
