import NIOCore
import Synchronization

/// What each event loop keeps of its connections.
final class HTTPLoops: Sendable {
    let counters: HTTPCounters
    private let loops: [ObjectIdentifier: NIOLoopBound<LoopConnections>]

    /// Begins to look after deadlines and heartbeats on every loop of `group`.
    init(
        group: any EventLoopGroup, limits: HTTPLimits, counts: ConnectionCounts,
        counters: HTTPCounters, hub: WatchHub
    ) async throws {
        var loops: [ObjectIdentifier: NIOLoopBound<LoopConnections>] = [:]
        for eventLoop in group.makeIterator() {
            loops[ObjectIdentifier(eventLoop)] = try await eventLoop.submit {
                let watchers = WatchLoop(hub: hub)
                hub.add(NIOLoopBound(watchers, eventLoop: eventLoop))
                let connections = LoopConnections(
                    limits: limits, counts: counts, counters: counters,
                    watchers: watchers)
                let bound = NIOLoopBound(connections, eventLoop: eventLoop)
                Self.schedule(bound)
                return bound
            }.get()
        }
        self.loops = loops
        self.counters = counters
    }

    /// Must be called on `eventLoop`.
    func connections(on eventLoop: any EventLoop) -> LoopConnections? {
        loops[ObjectIdentifier(eventLoop)]?.value
    }

    private static func schedule(_ loop: NIOLoopBound<LoopConnections>) {
        let delay = TimeAmount.milliseconds(Int64.random(in: 0...500))
        loop.eventLoop.scheduleRepeatedTask(
            initialDelay: delay, delay: .milliseconds(500)
        ) { _ in loop.value.sweep() }
        loop.eventLoop.scheduleRepeatedTask(
            initialDelay: delay, delay: .seconds(1)
        ) { _ in loop.value.watchers.heartbeat() }
    }
}
