import ControlModel
import Cryptography
import Synchronization

@testable import Coordinator

/// A tenant's changes in memory.
final class FakeSource: WatchSource, Sendable {
    private struct State {
        var changes: [StoredChange] = []
        var newest: Int64 = 0
        var reads = 0
        var failures = 0
        var seen: [Bool] = []
    }

    /// The tenant: acme.
    static let tenant: Name = "acme"

    private let state = Mutex(State())

    var reads: Int { state.withLock(\.reads) }
    var seen: [Bool] { state.withLock(\.seen) }

    /// - Returns: The change's number.
    @discardableResult
    func add(_ audience: StoredChange.Audience = .all, _ payload: String = "{}") -> Int64 {
        state.withLock { state in
            state.newest += 1
            state.changes.append(
                StoredChange(
                    number: state.newest, audience: audience, payload: [UInt8](payload.utf8)))
            return state.newest
        }
    }

    /// Forgets all changes up to `number`.
    func forget(upTo number: Int64) {
        state.withLock { state in state.changes.removeAll { $0.number <= number } }
    }

    func fail(_ times: Int) { state.withLock { $0.failures = times } }

    func networkState(
        _ identity: NodeIdentity
    ) async throws -> (state: CoordinatorAPI.NetworkState, number: Int64) {
        let state = CoordinatorAPI.NetworkState(
            own: "own", rollovers: [], organisationRevocations: nil, tenantRevocations: nil,
            peers: [], policy: nil, qos: nil)
        return (state, try await newestNumber(identity.tenant))
    }

    func ownState(_ identity: NodeIdentity) async throws -> CoordinatorAPI.OwnState {
        CoordinatorAPI.OwnState(
            state: .active, chain: "own", number: try await newestNumber(identity.tenant),
            gatewaysBehind: 0)
    }

    func changes(_ tenant: Name, after: Int64, limit: Int) async throws -> [StoredChange] {
        try state.withLock { state in
            state.reads += 1
            if state.failures > 0 {
                state.failures -= 1
                throw CoordinatorAPI.Problem.storageUnavailable("for a moment")
            }
            return Array(state.changes.filter { $0.number > after }.prefix(limit))
        }
    }

    func newestNumber(_ tenant: Name) async throws -> Int64 { state.withLock(\.newest) }

    func oldestNumber(_ tenant: Name) async throws -> Int64 {
        state.withLock { $0.changes.first?.number ?? $0.newest + 1 }
    }

    func seen(_ identity: NodeIdentity, connected isConnected: Bool) {
        state.withLock { $0.seen.append(isConnected) }
    }
}
