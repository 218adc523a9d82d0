import AsyncHTTPClient
public import ControlModel
import NIOCore
import NIOHTTP1
import NIOSSL

/// Asks a coordinator, over HTTPS and nothing else.
///
/// 1. A connection is trusted by the pinned key, or else by the system's certificate authorities.
/// 2. Redirects are not followed, and no proxy is taken from the environment.
/// 3. An answer is bounded in size and time.
/// 4. What fails is a `CoordinatorAPI.Problem` that the coordinator sent, a ``ClientFault``, or a
///    `CancellationError`.
///
/// Safe to share: calls at the same time have connections of their own. End with ``shutDown()``.
public final class CoordinatorClient: Sendable {
    public enum Method: String, CaseIterable, Hashable, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    /// Answer of what has nothing to tell.
    public struct NoAnswer: Decodable, Hashable, Sendable {}

    private let address: CoordinatorAddress
    private let authorization: String?
    private let client: HTTPClient
    private let answerBytesMax: Int

    /// - Parameters:
    ///   - coordinator: `https://host[:port]`.
    ///   - pin: The server's only key; `nil` leaves it to public certificate authorities.
    ///   - credential: An API token, a node's secret or a JWT; `nil` for what needs none.
    public convenience init(
        coordinator: String, pin: ServerPin?, credential: String?
    ) throws(ClientFault) {
        try self.init(
            coordinator: coordinator, pin: pin, credential: credential,
            silence: .seconds(ClientLimits.silenceSeconds),
            answerBytesMax: ClientLimits.answerBytesMax)
    }

    /// - Parameter silence: After which a connection without a byte of an answer is over.
    init(
        coordinator: String, pin: ServerPin?, credential: String?, silence: TimeAmount,
        answerBytesMax: Int
    ) throws(ClientFault) {
        address = try CoordinatorAddress(coordinator)
        if let credential {
            guard !credential.isEmpty, credential.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
            else { throw .invalidCredential }
        }
        authorization = credential.map { "Bearer \($0)" }
        self.answerBytesMax = answerBytesMax
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(ClientLimits.connectSeconds), read: silence))
        configuration.httpVersion = .http1Only
        // Whoever asks decides whether and when to ask again.
        configuration.connectionPool.retryConnectionEstablishment = false
        if let pin { configuration.accept(only: pin) }
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    deinit {
        let client = client
        // After shutDown() this does nothing.
        Task { try? await client.shutdown() }
    }

    /// Ends the client and its connections.
    public func shutDown() async {
        try? await client.shutdown()
    }

    /// Asks once.
    ///
    /// - Parameters:
    ///   - path: Begins with a slash, such as `/v1/tenants`.
    ///   - query: Names and values as they are.
    ///   - body: Sent as JSON.
    ///   - ifMatch: The revision that is to be changed.
    ///   - timeoutSeconds: Until the whole answer is there.
    /// - Returns: The answer, and the revision that it is of.
    public func call<Answer: Decodable>(
        _ method: Method, _ path: String, query: [(String, String)] = [],
        body: (any Encodable & Sendable)? = nil, ifMatch: Int64? = nil, timeoutSeconds: Int = 10
    ) async throws -> (answer: Answer, etag: Int64?) {
        var request = request(method, path, query: query)
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: try APIJSON.encode(body)))
        }
        if let ifMatch { request.headers.add(name: "if-match", value: "\"\(ifMatch)\"") }
        let answer = try await collect(request, timeoutSeconds: timeoutSeconds)
        return (try answer.decode(Answer.self), answer.etag)
    }

    /// Asks for what has nothing to tell.
    @discardableResult
    public func call(
        _ method: Method, _ path: String, query: [(String, String)] = [],
        body: (any Encodable & Sendable)? = nil, ifMatch: Int64? = nil, timeoutSeconds: Int = 10
    ) async throws -> Int64? {
        let answer: (answer: NoAnswer, etag: Int64?) = try await call(
            method, path, query: query, body: body, ifMatch: ifMatch,
            timeoutSeconds: timeoutSeconds)
        return answer.etag
    }

    /// Begins a stream of lines.
    ///
    /// - Parameter timeoutSeconds: Until the stream begins; afterwards only its silence counts.
    public func lines(
        _ path: String, query: [(String, String)] = [], timeoutSeconds: Int = 10
    ) async throws -> CoordinatorLines {
        var request = request(.get, path, query: query)
        request.headers.replaceOrAdd(name: "accept", value: "application/x-ndjson")
        let response = try await execute(request, timeoutSeconds: timeoutSeconds)
        var answer = CoordinatorAnswer(
            status: response.status, headers: response.headers, body: [])
        guard response.status == .ok else {
            answer.body = try await bytes(of: response)
            try answer.checkStatus()
            throw ClientFault.notACoordinator("it answered with status \(response.status.code)")
        }
        guard answer.mediaType == "application/x-ndjson" else {
            throw ClientFault.notACoordinator(
                "it sent \(answer.mediaType ?? "no content type") instead of lines")
        }
        return CoordinatorLines(body: response.body, lineBytesMax: answerBytesMax)
    }

    private func request(
        _ method: Method, _ path: String, query: [(String, String)]
    ) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: address.url(path, query: query))
        request.method = HTTPMethod(rawValue: method.rawValue)
        request.headers.add(name: "accept", value: "application/json, application/problem+json")
        if let authorization {
            request.headers.add(name: "authorization", value: authorization)
        }
        return request
    }

    private func execute(
        _ request: HTTPClientRequest, timeoutSeconds: Int
    ) async throws -> HTTPClientResponse {
        do {
            return try await client.execute(
                request, deadline: .now() + .seconds(Int64(timeoutSeconds)))
        } catch {
            throw Self.failure(error)
        }
    }

    /// The library's deadline ends with the head of an answer; this one holds for all of it.
    private func collect(
        _ request: HTTPClientRequest, timeoutSeconds: Int
    ) async throws -> CoordinatorAnswer {
        try await withThrowingTaskGroup(of: CoordinatorAnswer.self) { group in
            group.addTask {
                let response = try await self.execute(request, timeoutSeconds: timeoutSeconds)
                return CoordinatorAnswer(
                    status: response.status, headers: response.headers,
                    body: try await self.bytes(of: response))
            }
            group.addTask {
                try await Task.sleep(for: .seconds(timeoutSeconds))
                throw ClientFault.timedOut
            }
            defer { group.cancelAll() }
            guard let answer = try await group.next() else { throw ClientFault.timedOut }
            return answer
        }
    }

    private func bytes(of response: HTTPClientResponse) async throws -> [UInt8] {
        let isSuccess = (200..<300).contains(response.status.code)
        let bytesMax = isSuccess ? answerBytesMax : ClientLimits.problemBytesMax
        do {
            return [UInt8](buffer: try await response.body.collect(upTo: bytesMax))
        } catch {
            throw Self.failure(error)
        }
    }

    private static func failure(_ error: any Error) -> any Error {
        if Task.isCancelled { return CancellationError() }
        return ClientFault(cause: error) ?? error
    }
}
