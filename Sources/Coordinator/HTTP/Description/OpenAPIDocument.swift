import HTTPTypes

/// The interface's OpenAPI 3.1 description, made from its routes.
enum OpenAPIDocument {
    static func make(_ routes: [Route], version: String) -> JSONValue {
        var paths: [JSONValue.Member] = []
        for route in routes where !paths.contains(where: { $0.name == route.path }) {
            let methods = routes.filter { $0.path == route.path }
            let operations = methods.map {
                JSONValue.Member(
                    name: $0.method.rawValue.lowercased(), value: operation($0))
            }
            paths.append(.init(name: route.path, value: .object(operations)))
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "Branchline coordinator", "version": .string(version),
                "description": """
                    Stores and distributes who is in the network; security admins sign it. \
                    Errors are application/problem+json. Times are Unix seconds.
                    """,
            ],
            "servers": [["url": "/"]],
            "tags": .array(Operation.Tag.allCases.map { ["name": .string($0.rawValue)] }),
            "paths": .object(paths),
            "components": components,
        ]
    }

    static func pathParameters(of path: String) -> [String] {
        path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
            String($0.dropFirst().dropLast())
        }
    }

    // MARK: Operations

    private static func operation(_ route: Route) -> JSONValue {
        let operation = route.operation
        var members: JSONValue = [
            "operationId": .string(operation.id), "summary": .string(operation.summary),
            "tags": [.string(operation.tag.rawValue)],
        ]
        let parameters = parameters(route)
        if !parameters.isEmpty { members = members.adding(["parameters": .array(parameters)]) }
        if let request = operation.request {
            members = members.adding([
                "requestBody": [
                    "required": true,
                    "content": ["application/json": ["schema": Schemas.reference(request)]],
                ]
            ])
        }
        members = members.adding(["responses": responses(route)])
        switch route.access {
        case .open, .joining: return members.adding(["security": []])
        case .admin, .node: return members.adding(["security": [["bearer": []]]])
        case .loopback: return members.adding(["security": [[:], ["bearer": []]]])
        }
    }

    private static func parameters(_ route: Route) -> [JSONValue] {
        let inPath = pathParameters(of: route.path).map {
            reference("parameters", $0)
        }
        let inQuery = route.operation.query.map { reference("parameters", $0) }
        let headers = route.operation.needsIfMatch ? [reference("parameters", "if_match")] : []
        return inPath + inQuery + headers
    }

    private static func responses(_ route: Route) -> JSONValue {
        let answer = route.operation.answer
        var success: JSONValue = ["description": .string(answer.description)]
        var headers: JSONValue = ["X-Request-ID": reference("headers", "request_id")]
        if answer.hasETag { headers = headers.adding(["ETag": reference("headers", "etag")]) }
        success = success.adding(["headers": headers])
        if let schema = answer.schema {
            let content: JSONValue = answer.type == "application/x-ndjson"
                ? ["x-line-schema": Schemas.reference(schema)]
                : ["schema": Schemas.reference(schema)]
            success = success.adding([
                "content": .object([.init(name: answer.type, value: content)])
            ])
        }
        var members = [JSONValue.Member(name: "\(answer.status)", value: success)]
        for status in problems(route).sorted() {
            members.append(
                .init(name: "\(status)", value: reference("responses", "problem_\(status)")))
        }
        return .object(members)
    }

    private static func problems(_ route: Route) -> Set<Int> {
        var statuses = route.operation.problems.union([400, 413, 429, 431, 500, 503])
        if route.access != .open, route.access != .joining { statuses.formUnion([401, 403]) }
        if !pathParameters(of: route.path).isEmpty { statuses.insert(404) }
        if route.body != .none { statuses.formUnion([408, 415]) }
        if route.operation.needsIfMatch { statuses.formUnion([412, 428]) }
        return statuses
    }

    private static func reference(_ kind: String, _ name: String) -> JSONValue {
        ["$ref": "#/components/\(kind)/\(name)"]
    }

    // MARK: Components

    private static var components: JSONValue {
        [
            "schemas": .object(Schemas.all.map { .init(name: $0.name, value: $0.schema) }),
            "parameters": .object(
                (pathParameters + queryParameters + headerParameters).map {
                    .init(name: $0.name, value: $0.value)
                }),
            "headers": [
                "request_id": [
                    "description": "Names the request in the coordinator's log.",
                    "schema": Schemas.string(min: 1, max: 64),
                ],
                "etag": [
                    "description": "The revision, to be given as If-Match.",
                    "schema": Schemas.string(min: 3, max: 18, pattern: "^\"[0-9]{1,16}\"$"),
                ],
                "retry_after": [
                    "description": "Seconds.", "schema": Schemas.integer(min: 1, max: 3600),
                ],
            ],
            "responses": .object(
                statuses.map { .init(name: "problem_\($0)", value: problem($0, $1)) }),
            "securitySchemes": [
                "bearer": [
                    "type": "http", "scheme": "bearer",
                    "description": """
                        An API token (bla_...), a token of the configured OpenID Connect \
                        provider, or, for /v1/self, a node's secret (bln_...).
                        """,
                ]
            ],
        ]
    }

    private static func problem(_ status: Int, _ description: String) -> JSONValue {
        var headers: JSONValue = ["X-Request-ID": reference("headers", "request_id")]
        if status == 429 {
            headers = headers.adding(["Retry-After": reference("headers", "retry_after")])
        }
        return [
            "description": .string(description), "headers": headers,
            "content": ["application/problem+json": ["schema": Schemas.reference("Problem")]],
        ]
    }

    private static let statuses: [(Int, String)] = [
        (400, "The request does not fit this description."),
        (401, "No bearer token, or one that does not count."),
        (403, "The caller may not do this."),
        (404, "There is no such thing."),
        (408, "The body came too slowly."),
        (409, "It contradicts what is there."),
        (412, "Somebody else changed it since it was read."),
        (413, "The body is too large."),
        (415, "The body is not application/json."),
        (422, "A signed statement, or a policy, is refused; the reason says why."),
        (428, "If-Match is missing."),
        (429, "Too many requests."),
        (431, "The head of the request is too large."),
        (500, "A fault of the coordinator."),
        (503, "The coordinator's storage cannot be reached now."),
    ]

    private static func parameter(
        _ name: String, _ place: String, _ description: String, _ schema: JSONValue
    ) -> JSONValue {
        [
            "name": .string(name), "in": .string(place),
            "required": .bool(place != "query"), "description": .string(description),
            "schema": schema,
        ]
    }

    private static let pathParameters: [(name: String, value: JSONValue)] = [
        ("tenant", parameter("tenant", "path", "A tenant.", Schemas.reference("Name"))),
        ("group", parameter("group", "path", "A group.", Schemas.reference("Name"))),
        ("node", parameter("node", "path", "A node's key.", Schemas.reference("Key"))),
        (
            "token",
            parameter(
                "token", "path", "An enrolment token's id.",
                Schemas.string(min: 22, max: 22, pattern: Schemas.tokenIDPattern))
        ),
        (
            "id",
            parameter("id", "path", "An API token's id.", Schemas.string(min: 1, max: 64))
        ),
        (
            "address",
            parameter("address", "path", "A pool's address.", Schemas.string(min: 2, max: 45))
        ),
        (
            "length",
            parameter("length", "path", "A pool's length.", Schemas.integer(max: 128))
        ),
    ]

    static let queryParameters: [(name: String, value: JSONValue)] = [
        (
            "limit",
            parameter(
                "limit", "query", "How many at most; 100 unless given.",
                Schemas.integer(min: 1, max: 1000))
        ),
        (
            "after",
            parameter(
                "after", "query", "What follows this is listed: the `next` of the page before.",
                Schemas.string(max: 128))
        ),
        (
            "after_number",
            parameter("after", "query", "Entries after this number.", Schemas.integer())
        ),
        (
            "of_tenant",
            parameter("tenant", "query", "Only this tenant's.", Schemas.reference("Name"))
        ),
        (
            "since",
            parameter(
                "since", "query", "Number of the last change that the node has.",
                Schemas.integer())
        ),
    ]

    private static let headerParameters: [(name: String, value: JSONValue)] = [
        (
            "if_match",
            parameter(
                "If-Match", "header", "The ETag that was read.",
                Schemas.string(min: 3, max: 18, pattern: "^\"[0-9]{1,16}\"$")
            )
        )
    ]
}
