import NIOCore
import Telemetry

/// The connections of one event loop, with their deadlines. Used on that loop only.
final class LoopConnections {
    let limits: HTTPLimits
    let counts: ConnectionCounts
    let counters: HTTPCounters
    let watchers: WatchLoop
    private var connections: [ObjectIdentifier: ClientConnection] = [:]

    init(
        limits: HTTPLimits, counts: ConnectionCounts, counters: HTTPCounters,
        watchers: WatchLoop
    ) {
        self.limits = limits
        self.counts = counts
        self.counters = counters
        self.watchers = watchers
    }

    static var second: Int64 { 1_000_000_000 }
    /// Nanoseconds of a clock that never goes back.
    static var now: Int64 { Int64(NIODeadline.now().uptimeNanoseconds) }

    func add(_ connection: ClientConnection) {
        connections[ObjectIdentifier(connection)] = connection
    }

    /// - Returns: `false` if it was not there any more.
    func remove(_ connection: ClientConnection) -> Bool {
        connections.removeValue(forKey: ObjectIdentifier(connection)) != nil
    }

    /// Closes what has passed its deadline.
    ///
    /// - Complexity: O(connections), about 20 ns each.
    func sweep() {
        let now = Self.now
        let late = connections.values.filter { $0.deadline <= now }
        for connection in late { connection.expire() }
    }
}
