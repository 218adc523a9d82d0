import Synchronization
import Telemetry

/// Requests by route and status, and how long they took.
///
/// Routes are those of the table, so there are few, whatever clients ask for.
final class RequestMetrics: Sendable {
    private struct Key: Hashable {
        var method: String
        var route: String
        var status: Int
    }

    private struct State {
        var counts: [Key: UInt64] = [:]
        var durations: [String: Histogram] = [:]
    }

    private let state = Mutex(State())

    func record(method: String, route: String, status: Int, seconds: Double) {
        state.withLock { state in
            state.counts[Key(method: method, route: route, status: status), default: 0] += 1
            state.durations[
                route, default: Histogram(bounds: Histogram.latencySeconds)
            ].record(seconds)
        }
    }

    func write(to text: inout PrometheusText) {
        let state = state.withLock { $0 }
        let requests = "branchline_coordinator_requests_total"
        text.family(requests, .counter, "Answered requests.")
        let keys = state.counts.keys.sorted {
            ($0.route, $0.method, $0.status) < ($1.route, $1.method, $1.status)
        }
        for key in keys {
            text.sample(
                requests, state.counts[key] ?? 0,
                [("method", key.method), ("route", key.route), ("status", "\(key.status)")])
        }
        let durations = "branchline_coordinator_request_seconds"
        text.family(durations, .histogram, "From a request's head to its answer being ready.")
        for (route, histogram) in state.durations.sorted(by: { $0.key < $1.key }) {
            text.histogram(durations, histogram, [("route", route)])
        }
    }
}
