import Telemetry

/// Events of the interface that are not requests by themselves.
enum HTTPCounter: Int, CounterKey {
    case watchChangesSent
    case watchStatesSent
    case authenticationFailures
    case rateLimitedRequests
    case refusedConnections
    case slowConnections

    var name: String {
        switch self {
        case .watchChangesSent: "watch_changes_sent"
        case .watchStatesSent: "watch_states_sent"
        case .authenticationFailures: "authentication_failures"
        case .rateLimitedRequests: "rate_limited_requests"
        case .refusedConnections: "refused_connections"
        case .slowConnections: "slow_connections"
        }
    }

    var help: String {
        switch self {
        case .watchChangesSent: "Changes written to watch streams."
        case .watchStatesSent: "Full states written to watch streams."
        case .authenticationFailures: "Requests with credentials that do not count."
        case .rateLimitedRequests: "Requests refused with 429."
        case .refusedConnections: "Connections closed at once, being one too many."
        case .slowConnections: "Connections closed for being slow."
        }
    }
}

typealias HTTPCounters = CounterSet<HTTPCounter>
