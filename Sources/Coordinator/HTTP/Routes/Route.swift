import HTTPTypes
import Hummingbird

/// One operation of the interface: where it is, who may ask, how large its body may be, and what
/// does it. Routing, limits, metrics and the description all come from these.
struct Route: Sendable {
    enum Access: Hashable, Sendable {
        /// Anybody, without a token.
        case open
        /// Anybody, with a rate of its own: the body is the credential.
        case joining
        /// With a bearer token; handlers say of which kind.
        case admin
        case node
        /// As `admin`, and without a token on this machine itself.
        case loopback
    }

    enum Body: Hashable, Sendable {
        case none
        case json
        /// JSON as large as an access policy may be.
        case policy
        /// JSON as large as a revocation list may be.
        case revocations
    }

    let method: HTTPRequest.Method
    /// Such as `/v1/tenants/{tenant}`.
    let path: String
    let access: Access
    let body: Body
    /// Whether the answer is written as long as it takes; such routes have no HEAD.
    let isStream: Bool
    let operation: Operation
    let handle: @Sendable (APICall) async throws -> Response

    init(
        _ method: HTTPRequest.Method, _ path: String, _ access: Access, body: Body = .none,
        isStream: Bool = false, _ operation: Operation,
        handle: @escaping @Sendable (APICall) async throws -> Response
    ) {
        self.method = method
        self.path = path
        self.access = access
        self.body = body
        self.isStream = isStream
        self.operation = operation
        self.handle = handle
    }
}

/// All routes, found by path.
struct RouteTable: Sendable {
    enum Match: Sendable {
        case route(Route, [String: String])
        /// The path is there; these methods are.
        case otherMethods([String])
        case none
    }

    let routes: [Route]
    private let root: Node

    private final class Node: Sendable {
        let literals: [String: Node]
        let parameter: (name: String, node: Node)?
        let routes: [Route]

        init(_ routes: [(segments: ArraySlice<Substring>, route: Route)]) {
            var literals: [String: [(segments: ArraySlice<Substring>, route: Route)]] = [:]
            var parameters: [(segments: ArraySlice<Substring>, route: Route)] = []
            var name = ""
            for (segments, route) in routes {
                guard let segment = segments.first else { continue }
                if segment.hasPrefix("{") {
                    name = String(segment.dropFirst().dropLast())
                    parameters.append((segments.dropFirst(), route))
                } else {
                    literals[String(segment), default: []].append((segments.dropFirst(), route))
                }
            }
            self.routes = routes.filter(\.segments.isEmpty).map(\.route)
            self.literals = literals.mapValues { Node($0) }
            parameter = parameters.isEmpty ? nil : (name, Node(parameters))
        }
    }

    init(_ routes: [Route]) {
        self.routes = routes
        root = Node(routes.map { ($0.path.split(separator: "/")[...], $0) })
    }

    /// - Parameter path: Of the request, without query.
    func match(_ method: HTTPRequest.Method, _ path: Substring) -> Match {
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        guard segments.count > 1, segments[0].isEmpty, segments.count <= Self.segmentsMax else {
            return .none
        }
        var node = root
        var parameters: [String: String] = [:]
        for segment in segments.dropFirst() {
            guard let text = PercentCoding.decode(segment), !text.isEmpty else { return .none }
            if let next = node.literals[text] {
                node = next
            } else if let (name, next) = node.parameter {
                parameters[name] = text
                node = next
            } else {
                return .none
            }
        }
        guard !node.routes.isEmpty else { return .none }
        let wanted = method == .head ? .get : method
        if let route = node.routes.first(where: { $0.method == wanted }),
            !(method == .head && route.isStream)
        {
            return .route(route, parameters)
        }
        return .otherMethods(Self.methods(of: node.routes))
    }

    private static func methods(of routes: [Route]) -> [String] {
        routes.flatMap { route in
            route.method == .get && !route.isStream ? ["GET", "HEAD"] : [route.method.rawValue]
        }
    }

    private static var segmentsMax: Int { 16 }
}
