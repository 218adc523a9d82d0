import ControlModel
import HTTPTypes
import Hummingbird

/// Every operation of the interface, with what does it.
struct CoordinatorRoutes: Sendable {
    let service: CoordinatorService
    let hub: WatchHub
    let gate: WatchGate
    let counts: ConnectionCounts
    let setupCode: SetupCode
    let metrics: MetricsPage
    let version: String

    var all: [Route] {
        let routes = organisation + access + tenants + pools + tokens + nodes + groups + policies
            + revocations + audit + ownNode
        return system(describing: routes) + routes
    }

    private var organisation: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/organisation", .admin,
                Operation(
                    "getOrganisation", .organisation, "The root key, admins and rollovers.",
                    answer: .ok("Organisation"), problems: [409])
            ) { try APIAnswer.json(await service.organisation(by: $0.principal())) },
            Route(
                .post, "/v1/organisation", .joining, body: .json,
                Operation(
                    "setUpOrganisation", .organisation,
                    "Makes the organisation, once, with the set-up code.",
                    request: "OrganisationSetup", answer: .created("APITokenSecret"),
                    problems: [403, 409, 422]),
                handle: setUp),
            Route(
                .post, "/v1/organisation/admins", .admin, body: .json,
                Operation(
                    "addAdmin", .organisation, "Takes an admin's key that the root signed.",
                    request: "SignedStatement", answer: .created("Admin"), problems: [409, 422])
            ) {
                try APIAnswer.json(
                    await service.addAdmin($0.decoded(), by: $0.principal()), status: .created)
            },
            Route(
                .post, "/v1/organisation/rollovers", .admin, body: .json,
                Operation(
                    "addRollover", .organisation, "Follows the root to its next key.",
                    request: "SignedStatement", answer: .created("Organisation"),
                    problems: [409, 422])
            ) {
                try APIAnswer.json(
                    await service.addRollover($0.decoded(), by: $0.principal()),
                    status: .created)
            },
        ]
    }

    private var access: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/me", .admin,
                Operation(
                    "getMe", .access, "Who the coordinator takes the caller for.",
                    answer: .ok("Identity"))
            ) { try APIAnswer.json(identity(of: $0)) },
            Route(
                .get, "/v1/api-tokens", .admin,
                Operation(
                    "listAPITokens", .access, "API tokens, without their secrets.",
                    query: ["after", "limit"], answer: .ok("APITokenPage"))
            ) {
                let (after, limit) = try $0.page()
                return try APIAnswer.json(
                    await service.apiTokens(by: $0.principal(), after: after, limit: limit))
            },
            Route(
                .post, "/v1/api-tokens", .admin, body: .json,
                Operation(
                    "createAPIToken", .access, "Makes an API token; its secret is shown once.",
                    request: "APITokenRequest", answer: .created("APITokenSecret"),
                    problems: [404, 409])
            ) {
                try APIAnswer.json(
                    await service.createAPIToken($0.decoded(), by: $0.principal()),
                    status: .created)
            },
            Route(
                .delete, "/v1/api-tokens/{id}", .admin,
                Operation(
                    "deleteAPIToken", .access, "Takes an API token back.", answer: .nothing(),
                    problems: [409])
            ) {
                try await service.deleteAPIToken($0.text("id"), by: $0.principal())
                return APIAnswer.nothing()
            },
        ]
    }

    @Sendable private func setUp(_ call: APICall) async throws -> Response {
        let secret = try await service.setUp(call.decoded())
        setupCode.remove()
        return try APIAnswer.json(secret, status: .created)
    }

    private func identity(of call: APICall) throws -> CoordinatorAPI.Identity {
        switch call.caller {
        case .principal(let principal):
            .init(
                actor: principal.actor, role: principal.role, tenant: principal.tenant?.text)
        case .node(let node): .init(actor: node.actor, role: nil, tenant: node.tenant.text)
        case .nobody: throw Authenticator.refusal
        }
    }
}
