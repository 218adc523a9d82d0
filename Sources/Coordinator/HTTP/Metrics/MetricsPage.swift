import ControlModel
import Logging
import Telemetry

/// The text of `/metrics`.
struct MetricsPage: Sendable {
    let service: CoordinatorService
    let requests: RequestMetrics
    let counters: HTTPCounters
    let counts: ConnectionCounts
    let log: Logger

    func text() async -> String {
        var text = PrometheusText()
        requests.write(to: &text)
        for counter in HTTPCounter.allCases {
            let name = "\(Self.prefix)\(counter.name)_total"
            text.family(name, .counter, counter.help)
            text.sample(name, counters[counter])
        }
        gauge(&text, "connections", "Connections that are not streams.", counts.connections)
        gauge(&text, "watchers", "Watch streams.", counts.watchers)
        do {
            write(try await service.statistics(), to: &text)
            gauge(&text, "storage_up", "Whether the storage answers.", 1)
        } catch {
            log.debug("no statistics: \(error)")
            gauge(&text, "storage_up", "Whether the storage answers.", 0)
        }
        return text.text
    }

    private func write(_ statistics: CoordinatorStatistics, to text: inout PrometheusText) {
        gauge(&text, "tenants", "Tenants.", statistics.tenants)
        text.family("\(Self.prefix)nodes", .gauge, "Nodes by state.")
        for state in CoordinatorAPI.NodeState.allCases {
            text.sample(
                "\(Self.prefix)nodes", statistics.nodes[state] ?? 0, [("state", state.rawValue)])
        }
        gauge(&text, "unused_tokens", "Enrolment tokens to be used.", statistics.unusedTokens)
        gauge(&text, "audit_entries", "Entries of the audit log.", statistics.auditEntries)
        gauge(
            &text, "connected_nodes", "Nodes with a stream to this replica.",
            statistics.connectedNodes)
        let refusals = "\(Self.prefix)node_refusals_total"
        text.family(refusals, .counter, "What nodes refused, by reason, as they reported it.")
        for (reason, count) in statistics.refusals.sorted(by: { $0.key < $1.key }) {
            text.sample(refusals, count, [("reason", reason)])
        }
        let latencies = "\(Self.prefix)revocation_seconds"
        text.family(
            latencies, .histogram,
            "From a revocation list's acceptance to a connected gateway's belief in it.")
        text.histogram(latencies, statistics.revocationLatencies)
    }

    private func gauge(
        _ text: inout PrometheusText, _ name: String, _ help: String, _ value: some BinaryInteger
    ) {
        text.family("\(Self.prefix)\(name)", .gauge, help)
        text.sample("\(Self.prefix)\(name)", value)
    }

    private static var prefix: String { "branchline_coordinator_" }
}
