import ControlModel
import Hummingbird
import Telemetry

extension CoordinatorRoutes {
    /// What has no version: health, metrics, and the description of everything.
    func system(describing routes: [Route]) -> [Route] {
        let (service, metrics) = (service, metrics)
        let plain = [
            Route(
                .get, "/healthz", .open,
                Operation("getHealth", .system, "The process answers.", answer: .ok("Health"))
            ) { _ in try APIAnswer.json(["status": "ok"]) },
            Route(
                .get, "/readyz", .open,
                Operation(
                    "getReadiness", .system, "The storage answers, too.", answer: .ok("Health"))
            ) { _ in
                _ = try await service.storage.read { try $0.rows("SELECT 1", []).count }
                return try APIAnswer.json(["status": "ok"])
            },
            Route(
                .get, "/metrics", .loopback,
                Operation(
                    "getMetrics", .system,
                    "Metrics for Prometheus; on the machine itself without a token.",
                    answer: Operation.Answer(
                        description: "Prometheus' text format.", schema: "MetricsText",
                        type: "text/plain"))
            ) { call in
                try Self.checkMetrics(call)
                return APIAnswer.bytes(
                    [UInt8](await metrics.text().utf8), type: PrometheusText.contentType)
            },
        ]
        let described = plain + [descriptionRoute(of: [])] + routes
        return plain + [descriptionRoute(of: described)]
    }

    private func descriptionRoute(of routes: [Route]) -> Route {
        let text = OpenAPIDocument.make(routes, version: version).text
        return Route(
            .get, "/openapi.json", .open,
            Operation(
                "getDescription", .system, "This description.", answer: .ok("Description"))
        ) { _ in APIAnswer.bytes([UInt8](text.utf8), type: "application/json") }
    }

    /// Metrics name no secret, but who is confined to a tenant is to learn nothing of others.
    private static func checkMetrics(_ call: APICall) throws {
        switch call.caller {
        case .nobody: break
        case .principal(let principal) where principal.tenant == nil: break
        case .principal, .node:
            throw CoordinatorAPI.Problem.forbidden("metrics are for those who may see all tenants")
        }
    }
}
