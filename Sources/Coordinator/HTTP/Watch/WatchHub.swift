import ControlModel
import Logging
import NIOCore
import Synchronization
import Telemetry

/// All watch streams of this process.
///
/// A change is read once, encoded once and put into its tenant's ring; every event loop then writes
/// it to its watchers, each of which is a position and a connection. Who does not keep up with the
/// ring is brought up to date from storage, by the task of its own request.
final class WatchHub: Sendable {
    static var heartbeatSlots: UInt64 { 15 }
    static var changesPerRead: Int { 256 }
    /// How late a change can be whose announcement was lost.
    private static let recheckInterval = Duration.seconds(15)

    let source: any WatchSource
    let counters: HTTPCounters
    private let limits: HTTPLimits
    private let log: Logger
    private let state = Mutex(State())

    private struct State {
        var rings: [Name: WatchRing] = [:]
        var loops: [NIOLoopBound<WatchLoop>] = []
        /// Streams of each node in each of its tenants, oldest first.
        var streams: [Presences.Key: [Stream]] = [:]
        var watchersOf: [Name: Int] = [:]
        var nextID: UInt64 = 0
        var isShutDown = false
    }

    private struct Stream {
        var id: UInt64
        var loop: NIOLoopBound<WatchLoop>
    }

    init(source: any WatchSource, limits: HTTPLimits, counters: HTTPCounters, log: Logger) {
        self.source = source
        self.limits = limits
        self.counters = counters
        self.log = log
    }

    func add(_ loop: NIOLoopBound<WatchLoop>) { state.withLock { $0.loops.append(loop) } }

    // MARK: Rings

    func frames(_ tenant: Name, after number: Int64) -> ArraySlice<WatchFrame>? {
        state.withLock { $0.rings[tenant]?.frames(after: number) }
    }

    func head(_ tenant: Name) -> Int64? { state.withLock { $0.rings[tenant]?.head } }

    /// Sees to it that the tenant has a ring.
    func open(_ tenant: Name) async throws {
        guard head(tenant) == nil else { return }
        let newest = try await source.newestNumber(tenant)
        begin(tenant, newest: newest)
        // What was announced between reading the number and now was announced to nobody.
        try await refresh(tenant)
    }

    func begin(_ tenant: Name, newest: Int64) {
        state.withLock { state in
            if state.rings[tenant] == nil { state.rings[tenant] = WatchRing(newest: newest) }
        }
    }

    /// Reads what is new and hands it to the watchers.
    func refresh(_ tenant: Name) async throws {
        while let head = head(tenant) {
            let changes = try await source.changes(
                tenant, after: head, limit: Self.changesPerRead)
            guard !changes.isEmpty else { return }
            publish(changes, to: tenant)
            if changes.count < Self.changesPerRead { return }
        }
    }

    func publish(_ changes: [StoredChange], to tenant: Name) {
        state.withLock { state in
            guard let new = state.rings[tenant]?.append(changes), !new.isEmpty else { return }
            // Within the lock, so that loops get batches in the order of their numbers.
            for loop in state.loops {
                loop.eventLoop.execute { loop.value.deliver(new, to: tenant) }
            }
        }
    }

    // MARK: Streams

    /// Notes a further stream; ends the node's oldest where it has too many.
    ///
    /// - Returns: The stream's id; `nil` when the coordinator goes away.
    func enter(_ identity: NodeIdentity, on loop: NIOLoopBound<WatchLoop>) -> UInt64? {
        let id: UInt64? = state.withLock { state in
            guard !state.isShutDown else { return nil }
            state.nextID += 1
            var streams = state.streams[identity.key] ?? []
            streams.append(Stream(id: state.nextID, loop: loop))
            if streams.count > limits.watchersPerNodeMax {
                let oldest = streams.removeFirst()
                oldest.loop.eventLoop.execute { oldest.loop.value.end(oldest.id, .replaced) }
            }
            state.streams[identity.key] = streams
            state.watchersOf[identity.tenant, default: 0] += 1
            return state.nextID
        }
        if id != nil { source.seen(identity, connected: true) }
        return id
    }

    /// Why a stream that was busy with storage meanwhile is to end.
    func reasonToEnd(_ id: UInt64, of identity: NodeIdentity) -> Watcher.Ending? {
        state.withLock { state in
            if state.isShutDown { return .shutdown }
            let isKnown = state.streams[identity.key]?.contains { $0.id == id } ?? false
            return isKnown ? nil : .replaced
        }
    }

    func left(_ identity: NodeIdentity, _ id: UInt64) {
        let isLast = state.withLock { state in
            var streams = state.streams[identity.key] ?? []
            streams.removeAll { $0.id == id }
            state.streams[identity.key] = streams.isEmpty ? nil : streams
            let remaining = state.watchersOf[identity.tenant, default: 1] - 1
            state.watchersOf[identity.tenant] = remaining > 0 ? remaining : nil
            return streams.isEmpty
        }
        if isLast { source.seen(identity, connected: false) }
    }

    /// Ends all streams of a node that has left its tenant.
    func end(_ identity: NodeIdentity) {
        state.withLock { state in
            for stream in state.streams.removeValue(forKey: identity.key) ?? [] {
                stream.loop.eventLoop.execute { stream.loop.value.end(stream.id, .revoked) }
            }
        }
    }

    // MARK: Running

    /// Carries changes from storage to watchers, until the stream of announcements ends.
    func run(_ announcements: AsyncStream<String>) async {
        await withTaskGroup { group in
            group.addTask {
                for await text in announcements {
                    if let tenant = Name(text) { await self.refreshInsisting(tenant) }
                }
            }
            group.addTask { await self.recheck() }
            await group.next()
            group.cancelAll()
        }
    }

    /// Says goodbye to everybody; no stream begins any more.
    func shutDown() {
        state.withLock { state in
            state.isShutDown = true
            for loop in state.loops {
                loop.eventLoop.execute { loop.value.endAll(.shutdown) }
            }
        }
    }

    private func refreshInsisting(_ tenant: Name) async {
        var pause = Duration.milliseconds(50)
        while !Task.isCancelled {
            do {
                return try await refresh(tenant)
            } catch {
                log.warning("cannot read changes: \(error)", metadata: ["tenant": "\(tenant)"])
                try? await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(2))
            }
        }
    }

    /// Looks for changes that were never announced, and drops rings that nobody watches.
    private func recheck() async {
        while (try? await Task.sleep(for: Self.recheckInterval)) != nil {
            let watched = state.withLock { state in
                let idle = state.rings.keys.filter { state.watchersOf[$0] == nil }
                for tenant in idle { state.rings[tenant] = nil }
                return Array(state.rings.keys)
            }
            for tenant in watched { await refreshInsisting(tenant) }
        }
    }
}
