import Logging

@testable import Coordinator

/// The routes over an empty database.
enum TestRoutes {
    static func make() async throws -> CoordinatorRoutes {
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let database = try TestDatabase(.sqlite)
        let storage = try database.open()
        let service = try await CoordinatorService(
            storage: storage, now: { 1_800_000_000 }, setupCodeHash: { nil }, log: log)
        try database.remove()
        let limits = HTTPLimits()
        let counters = HTTPCounters()
        let counts = ConnectionCounts(limits: limits)
        return CoordinatorRoutes(
            service: service,
            hub: WatchHub(source: service, limits: limits, counters: counters, log: log),
            gate: WatchGate(places: 1), counts: counts,
            setupCode: SetupCode(folder: try StateFolder(path: TemporaryFolder().path)),
            metrics: MetricsPage(
                service: service, requests: RequestMetrics(), counters: counters, counts: counts,
                log: log),
            version: "1")
    }
}
