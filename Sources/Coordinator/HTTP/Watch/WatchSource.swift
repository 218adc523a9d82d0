import ControlModel

/// What watch streams are made of; the service, or a fake in tests.
protocol WatchSource: Sendable {
    func networkState(
        _ identity: NodeIdentity
    ) async throws -> (state: CoordinatorAPI.NetworkState, number: Int64)

    func ownState(_ identity: NodeIdentity) async throws -> CoordinatorAPI.OwnState

    func changes(_ tenant: Name, after: Int64, limit: Int) async throws -> [StoredChange]
    func newestNumber(_ tenant: Name) async throws -> Int64
    func oldestNumber(_ tenant: Name) async throws -> Int64
    func seen(_ identity: NodeIdentity, connected isConnected: Bool)
}

extension CoordinatorService: WatchSource {}
