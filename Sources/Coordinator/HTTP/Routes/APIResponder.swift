import ControlModel
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Telemetry

/// Answers every request, in these steps; what fails on the way is a problem with its status.
///
/// 1. The request gets its id.
/// 2. Rate of the client's address.
/// 3. Route: 404, or 405 with `Allow`.
/// 4. Type and announced size of the body.
/// 5. Rate of joining, where anybody may send a body; else authentication by the head alone, and
///    the principal's rate.
/// 6. The body is read, bounded in size and time.
/// 7. The handler.
/// 8. Headers, log, metrics.
struct APIResponder: HTTPResponder {
    typealias Context = APIContext

    let table: RouteTable
    let authenticator: Authenticator
    let limits: HTTPLimits
    let rates: ConnectionRates
    let metrics: RequestMetrics
    let counters: HTTPCounters
    let log: Logger

    func respond(to request: Request, context: APIContext) async throws -> Response {
        let start = ContinuousClock.now
        let id = RequestName.of(request)
        var log = log
        log[metadataKey: "request"] = "\(id)"
        let (path, query) = Self.target(of: request)
        let match = table.match(request.method, path)
        let label = Self.label(match)
        var response: Response
        do {
            response = try await answer(request, context, match, QueryText(query), log)
        } catch let problem as CoordinatorAPI.Problem {
            response = refusal(problem, id: id, log)
        } catch let fault as BodyFault {
            response = refusal(fault.problem, id: id, log)
        } catch let limited as RateLimited {
            counters.add(.rateLimitedRequests)
            response = APIAnswer.problem(limited.problem, requestID: id)
            response.headers[.retryAfter] = "\(limited.seconds)"
        } catch {
            log.error("a request failed: \(error)", metadata: ["route": "\(label)"])
            response = APIAnswer.problem(
                .internal("the coordinator failed; its log has more under the request's id"),
                requestID: id)
        }
        if case .otherMethods(let methods) = match {
            response.headers[.allow] = methods.joined(separator: ", ")
        }
        decorate(&response, id: id)
        if request.method == .head { response = response.createHeadResponse() }
        let seconds = (ContinuousClock.now - start).seconds
        metrics.record(
            method: Self.known(request.method), route: label, status: response.status.code,
            seconds: seconds)
        // Reading changes nothing, and is most of what there is.
        let isQuiet = (request.method == .get || request.method == .head)
            && response.status.code < 500
        if log.logLevel <= .debug { log[metadataKey: "client"] = "\(context.client)" }
        log.log(
            level: isQuiet ? .debug : .info,
            "\(Self.known(request.method)) \(label) \(response.status.code)",
            metadata: ["ms": "\(Int(seconds * 1000))"])
        return response
    }

    // MARK: Steps

    private func answer(
        _ request: Request, _ context: APIContext, _ match: RouteTable.Match,
        _ query: QueryText, _ log: Logger
    ) async throws -> Response {
        try check(rates.request(of: context.client))
        let (route, parameters) = try Self.found(match)
        // Health checks of load balancers speak HTTP/1.0, which has none.
        guard request.head.authority != nil || route.access == .open else {
            throw CoordinatorAPI.Problem.invalidRequest("send a Host header")
        }
        try checkBody(of: request, for: route)
        let caller = try await authenticate(request, route, context.client)
        if request.headers[.expect]?.lowercased() == "100-continue" {
            sendContinue(on: context.channel)
        }
        let body = try await read(request, for: route)
        return try await route.handle(
            APICall(
                parameters: parameters, caller: caller, body: body, head: request.head,
                query: query, channel: context.channel, client: context.client, log: log))
    }

    private static func found(
        _ match: RouteTable.Match
    ) throws -> (Route, [String: String]) {
        switch match {
        case .route(let route, let parameters): return (route, parameters)
        case .otherMethods(let methods):
            throw CoordinatorAPI.Problem(
                .methodNotAllowed, status: 405,
                detail: "here are " + methods.joined(separator: ", ")
                    + "; GET /openapi.json describes all")
        case .none:
            throw CoordinatorAPI.Problem.notFound(
                "nothing has this path; GET /openapi.json describes what there is")
        }
    }

    private func checkBody(of request: Request, for route: Route) throws {
        let lengths = request.headers[values: .contentLength]
        let length = lengths.first.flatMap { Int($0) } ?? 0
        let hasBody = length > 0 || request.headers[.transferEncoding] != nil
        guard length <= bytesMax(route.body) || route.body == .none else {
            throw BodyFault.tooLarge
        }
        guard route.body != .none else {
            guard !hasBody else {
                throw CoordinatorAPI.Problem.invalidRequest("this request takes no body")
            }
            return
        }
        let type = request.headers[.contentType]?.split(separator: ";").first ?? ""
        guard type.lowercased().filter({ !$0.isWhitespace }) == "application/json" else {
            throw CoordinatorAPI.Problem(
                .unsupportedMediaType, status: 415,
                detail: "send the body as Content-Type: application/json")
        }
        guard request.headers[.contentEncoding] == nil else {
            throw CoordinatorAPI.Problem(
                .unsupportedMediaType, status: 415, detail: "send the body without an encoding")
        }
    }

    private func authenticate(
        _ request: Request, _ route: Route, _ client: ClientAddress
    ) async throws -> Authenticator.Caller {
        switch route.access {
        case .open: return .nobody
        case .joining:
            try check(rates.joining(of: client))
            return .nobody
        case .loopback where client.isLoopback && request.headers[.authorization] == nil:
            return .nobody
        case .admin, .node, .loopback: break
        }
        let headers = request.headers[values: .authorization]
        let caller: Authenticator.Caller
        do {
            caller = try await authenticator.caller(headers.count == 1 ? headers[0] : nil)
        } catch let problem as CoordinatorAPI.Problem where problem.status == 401 {
            // Without a header nobody has tried anything.
            if !headers.isEmpty {
                counters.add(.authenticationFailures)
                // Who has a right secret comes in, however often others of the same address failed.
                try check(rates.authentication(of: client))
                rates.failed(client)
            }
            throw problem
        }
        switch caller {
        case .principal(let principal): try check(rates.principal(principal.actor))
        case .node(let identity):
            try check(rates.principal("\(identity.tenant) \(identity.actor)"))
        case .nobody: break
        }
        return caller
    }

    private func read(_ request: Request, for route: Route) async throws -> [UInt8] {
        guard route.body != .none else { return [] }
        let bytesMax = bytesMax(route.body)
        var body: [UInt8] = []
        do {
            for try await part in request.body {
                guard body.count + part.readableBytes <= bytesMax else {
                    throw BodyFault.tooLarge
                }
                body += part.readableBytesView
            }
        } catch let fault as BodyFault {
            throw fault
        } catch {
            throw BodyFault.brokenOff
        }
        return body
    }

    private func sendContinue(on channel: any Channel) {
        channel.eventLoop.execute {
            try? channel.pipeline.syncOperations.handler(type: ClientConnection.self)
                .sendContinue()
        }
    }

    private func bytesMax(_ body: Route.Body) -> Int {
        switch body {
        case .none: 0
        case .json: limits.bodyBytesMax
        case .policy: limits.policyBodyBytesMax
        case .revocations: limits.revocationBodyBytesMax
        }
    }

    private func check(_ retryAfterSeconds: Int64?) throws {
        if let retryAfterSeconds { throw RateLimited(seconds: retryAfterSeconds) }
    }

    // MARK: Answer

    private func refusal(
        _ problem: CoordinatorAPI.Problem, id: String, _ log: Logger
    ) -> Response {
        guard problem.status == 500 else {
            log.debug("refused: \(problem.reason): \(problem.detail)")
            return APIAnswer.problem(problem, requestID: id)
        }
        log.error("a request failed: \(problem.detail)")
        return APIAnswer.problem(
            .internal("the coordinator failed; its log has more under the request's id"),
            requestID: id)
    }

    private func decorate(_ response: inout Response, id: String) {
        if let name = RequestName.field { response.headers[name] = id }
        response.headers[.cacheControl] = "no-store"
        response.headers[.xContentTypeOptions] = "nosniff"
        response.headers[.contentSecurityPolicy] = "default-src 'none'; frame-ancestors 'none'"
        response.headers[.strictTransportSecurity] = "max-age=31536000"
    }

    private static func label(_ match: RouteTable.Match) -> String {
        switch match {
        case .route(let route, _): route.path
        case .otherMethods, .none: "other"
        }
    }

    /// So that the number of metrics is bounded.
    private static func known(_ method: HTTPRequest.Method) -> String {
        let methods: [HTTPRequest.Method] = [
            .get, .head, .post, .put, .patch, .delete, .options,
        ]
        return methods.contains(method) ? method.rawValue : "other"
    }

    private static func target(of request: Request) -> (Substring, Substring) {
        let target = request.head.path ?? "/"
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        return (parts[0], parts.count == 2 ? parts[1] : "")
    }
}

private struct RateLimited: Error {
    var seconds: Int64

    var problem: CoordinatorAPI.Problem {
        CoordinatorAPI.Problem(
            .rateLimited, status: 429, detail: "too many requests: try again in \(seconds) s")
    }
}

extension BodyFault {
    fileprivate var problem: CoordinatorAPI.Problem {
        switch self {
        case .timedOut:
            CoordinatorAPI.Problem(.timedOut, status: 408, detail: "the body came too slowly")
        case .tooLarge:
            CoordinatorAPI.Problem(.bodyTooLarge, status: 413, detail: "the body is too large")
        case .brokenOff: .invalidRequest("the body broke off")
        }
    }
}

extension Duration {
    fileprivate var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}
