import NIOCore
import Synchronization

/// The token buckets of clients and principals.
final class ConnectionRates: Sendable {
    private struct State {
        var requests: RateLimiter<ClientAddress>
        var failures: RateLimiter<ClientAddress>
        var joining: RateLimiter<ClientAddress>
        var principals: RateLimiter<String>
    }

    private let state: Mutex<State>

    init(limits: HTTPLimits) {
        let count = limits.rateEntriesMax
        state = Mutex(
            State(
                requests: RateLimiter(rate: limits.requests, entriesMax: count),
                failures: RateLimiter(rate: limits.failures, entriesMax: count),
                joining: RateLimiter(rate: limits.enrolments, entriesMax: count),
                principals: RateLimiter(rate: limits.principal, entriesMax: count)))
    }

    /// - Returns: After how many seconds to come back; `nil` for at once.
    func request(of client: ClientAddress) -> Int64? {
        state.withLock { Self.seconds($0.requests.take(client, now: LoopConnections.now)) }
    }

    /// Whether the client may fail to authenticate once more.
    func authentication(of client: ClientAddress) -> Int64? {
        state.withLock { Self.seconds($0.failures.peek(client, now: LoopConnections.now)) }
    }

    func failed(_ client: ClientAddress) {
        state.withLock { _ = $0.failures.take(client, now: LoopConnections.now) }
    }

    func joining(of client: ClientAddress) -> Int64? {
        state.withLock { Self.seconds($0.joining.take(client, now: LoopConnections.now)) }
    }

    func principal(_ actor: String) -> Int64? {
        state.withLock { Self.seconds($0.principals.take(actor, now: LoopConnections.now)) }
    }

    private static func seconds<Key>(_ decision: RateLimiter<Key>.Decision) -> Int64? {
        switch decision {
        case .allowed: nil
        case .limited(let retryAfterSeconds): retryAfterSeconds
        }
    }
}
