import Synchronization

/// How many connections there are, in all and of each client address; watch streams apart.
final class ConnectionCounts: Sendable {
    fileprivate struct State {
        var total = 0
        var watchers = 0
        var byAddress: [ClientAddress: Int] = [:]
    }

    private let limits: HTTPLimits
    private let state = Mutex(State())

    init(limits: HTTPLimits) { self.limits = limits }

    var watchers: Int { state.withLock(\.watchers) }
    var hasRoomForWatcher: Bool { watchers < limits.watchersMax }
    var connections: Int { state.withLock(\.total) }

    /// Counts a connection that was accepted.
    ///
    /// - Returns: `false` if it is one too many, and was not counted.
    func open(_ address: ClientAddress) -> Bool {
        state.withLock { state in
            let ofAddress = state.byAddress[address, default: 0]
            guard state.total < limits.connectionsMax, ofAddress < limits.connectionsPerAddressMax
            else { return false }
            state.total += 1
            state.byAddress[address] = ofAddress + 1
            return true
        }
    }

    func close(_ address: ClientAddress) {
        state.withLock { $0.close(address) }
    }

    /// From now on the connection counts as a watch stream.
    ///
    /// - Returns: `false` if there are too many; the connection counts as before.
    func beginWatch(_ address: ClientAddress) -> Bool {
        state.withLock { state in
            guard state.watchers < limits.watchersMax else { return false }
            state.close(address)
            state.watchers += 1
            return true
        }
    }

    func endWatch() {
        state.withLock { $0.watchers -= 1 }
    }
}

extension ConnectionCounts.State {
    fileprivate mutating func close(_ address: ClientAddress) {
        total -= 1
        let left = byAddress[address, default: 1] - 1
        byAddress[address] = left > 0 ? left : nil
    }
}
