/// What the description says about a route, beyond what the route itself says.
struct Operation: Hashable, Sendable {
    enum Tag: String, CaseIterable, Hashable, Sendable {
        case organisation, access, tenants, nodes, policies, audit, joining, node, system
    }

    struct Answer: Hashable, Sendable {
        var status = 200
        var description: String
        /// Name of a schema; `nil` for no body.
        var schema: String?
        var type = "application/json"
        var hasETag = false
    }

    var id: String
    var tag: Tag
    var summary: String
    /// Names in ``OpenAPIDocument/queryParameters``.
    var query: [String]
    /// Name of the schema of the request's body.
    var request: String?
    /// Whether an `If-Match` is taken, and must be there.
    var needsIfMatch: Bool
    var answer: Answer
    /// Statuses of problems, besides those that every operation of its kind has.
    var problems: Set<Int>

    init(
        _ id: String, _ tag: Tag, _ summary: String, query: [String] = [],
        request: String? = nil, needsIfMatch: Bool = false, answer: Answer,
        problems: Set<Int> = []
    ) {
        self.id = id
        self.tag = tag
        self.summary = summary
        self.query = query
        self.request = request
        self.needsIfMatch = needsIfMatch
        self.answer = answer
        self.problems = problems
    }
}

extension Operation.Answer {
    static func ok(
        _ schema: String, _ description: String = "Done.", hasETag: Bool = false
    ) -> Self {
        Self(description: description, schema: schema, hasETag: hasETag)
    }

    static func created(_ schema: String, hasETag: Bool = false) -> Self {
        Self(status: 201, description: "Made.", schema: schema, hasETag: hasETag)
    }

    static func nothing(_ description: String = "Done.", hasETag: Bool = false) -> Self {
        Self(status: 204, description: description, hasETag: hasETag)
    }

    static func lines(_ schema: String, _ description: String) -> Self {
        Self(description: description, schema: schema, type: "application/x-ndjson")
    }
}
