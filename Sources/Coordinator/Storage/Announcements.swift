import Synchronization

/// Hands names to every stream that listens, each name once until it is read.
final class Announcements: Sendable {
    private struct Subscriber {
        /// In the order of their first announcement.
        var names: [String] = []
        var known: Set<String> = []
        var waiter: CheckedContinuation<String?, Never>?
    }

    private struct State {
        var subscribers: [Int: Subscriber] = [:]
        var nextID = 0
        var isFinished = false
    }

    private let state = Mutex(State())

    func announce(_ names: [String]) {
        var resumed: [(CheckedContinuation<String?, Never>, String)] = []
        state.withLock { state in
            for id in state.subscribers.keys {
                for name in names {
                    if let waiter = state.subscribers[id]?.waiter {
                        state.subscribers[id]?.waiter = nil
                        resumed.append((waiter, name))
                    } else if state.subscribers[id]?.known.insert(name).inserted == true {
                        state.subscribers[id]?.names.append(name)
                    }
                }
            }
        }
        for (waiter, name) in resumed { waiter.resume(returning: name) }
    }

    /// Ends all streams.
    func finish() {
        let waiters = state.withLock { state in
            state.isFinished = true
            defer { state.subscribers = [:] }
            return state.subscribers.values.compactMap(\.waiter)
        }
        for waiter in waiters { waiter.resume(returning: nil) }
    }

    /// A new stream of what is announced from now on; for one reader.
    func stream() -> AsyncStream<String> {
        let id = state.withLock { state in
            defer { state.nextID += 1 }
            if !state.isFinished { state.subscribers[state.nextID] = Subscriber() }
            return state.nextID
        }
        return AsyncStream { await self.next(id) } onCancel: { self.remove(id) }
    }

    private func next(_ id: Int) async -> String? {
        await withCheckedContinuation { continuation in
            let ready: String?? = state.withLock { state in
                guard var subscriber = state.subscribers[id] else { return .some(nil) }
                defer { state.subscribers[id] = subscriber }
                guard let name = subscriber.names.first else {
                    subscriber.waiter = continuation
                    return nil
                }
                subscriber.names.removeFirst()
                subscriber.known.remove(name)
                return name
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    private func remove(_ id: Int) {
        let subscriber = state.withLock { $0.subscribers.removeValue(forKey: id) }
        subscriber?.waiter?.resume(returning: nil)
    }
}
