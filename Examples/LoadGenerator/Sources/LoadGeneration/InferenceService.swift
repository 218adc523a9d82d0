public import AsyncHTTPClient
import Foundation
import NIOCore
import NIOFoundationCompat
import NIOHTTP1
import NIOSSL

/// A server that speaks the OpenAI API.
public struct InferenceService: Sendable {
    let client: HTTPClient
    /// As `http://10.0.0.1:8000/v1`, without a slash at its end.
    let base: String
    let key: String?
    public let chatModel: String
    public let embeddingModel: String

    /// Asks the server for its models, which tells most of what can be wrong with it.
    ///
    /// - Parameters:
    ///   - address: URL with or without the path `/v1`.
    ///   - chatModel: `nil` for the first of the server's models whose name does not say embedding.
    ///   - embeddingModel: `nil` for the first whose name does.
    /// - Throws: ``LoadError``.
    public static func connect(
        client: HTTPClient, address: String, key: String?, chatModel: String?,
        embeddingModel: String?
    ) async throws -> InferenceService {
        let base = try baseURL(address)
        var request = HTTPClientRequest(url: base + "/models")
        if let key { request.headers.add(name: "authorization", value: "Bearer \(key)") }
        let response: HTTPClientResponse
        let body: ByteBuffer
        do {
            response = try await client.execute(request, timeout: .seconds(10))
            body = try await response.body.collect(upTo: 4 << 20)
        } catch {
            throw LoadError(explanation(of: error, base: base))
        }
        switch response.status.code {
        case 200: break
        case 401, 403:
            throw LoadError("\(base) refuses the key (\(response.status)); set OPENAI_API_KEY")
        default:
            throw LoadError(
                "\(base)/models answers \(response.status): is this an OpenAI-compatible server?")
        }
        guard let list = try? JSONDecoder().decode(ModelList.self, from: body) else {
            throw LoadError(
                "\(base)/models answers, but not with a list of models as the OpenAI API has it")
        }
        let names = list.data.map(\.id)
        func isEmbedding(_ name: String) -> Bool { name.lowercased().contains("embed") }
        guard let chat = chatModel ?? names.first(where: { !isEmbedding($0) }) ?? names.first else {
            throw LoadError("\(base) serves no model; name one with --model")
        }
        return InferenceService(
            client: client, base: base, key: key, chatModel: chat,
            embeddingModel: embeddingModel ?? names.first(where: isEmbedding) ?? chat)
    }

    /// - Parameter body: JSON, or other bytes.
    func request(
        _ method: HTTPMethod, _ path: String, contentType: String = "application/json",
        body: HTTPClient.Body? = nil
    ) throws -> HTTPClient.Request {
        var headers = HTTPHeaders([("content-type", contentType)])
        if let key { headers.add(name: "authorization", value: "Bearer \(key)") }
        return try HTTPClient.Request(
            url: base + path, method: method, headers: headers, body: body)
    }

    static func baseURL(_ address: String) throws(LoadError) -> String {
        guard let parts = URLComponents(string: address), let scheme = parts.scheme,
            ["http", "https"].contains(scheme), let host = parts.host, !host.isEmpty
        else {
            throw LoadError("'\(address)' is no address like http://10.0.0.1:8000/v1")
        }
        var base = address
        while base.hasSuffix("/") { base.removeLast() }
        return parts.path.isEmpty || parts.path == "/" ? base + "/v1" : base
    }

    /// Words for what a connection failed with.
    static func explanation(of error: any Error, base: String) -> String {
        switch error {
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            return """
                no TLS with \(base): \(error); use http:// if the server has none, \
                --ca-file for a certificate of your own, or --insecure
                """
        case let error as HTTPClientError where error == .connectTimeout:
            return "no connection to \(base) in time: is the address right, and the way open?"
        case let error as HTTPClientError where error == .deadlineExceeded:
            return "\(base) does not answer within 10 s"
        case let error as HTTPClientError where error == .remoteConnectionClosed:
            return "\(base) hangs up: does it speak HTTP, and not HTTPS?"
        case let error as IOError where error.errnoCode == ECONNREFUSED:
            return "nothing listens at \(base): is the server running?"
        case is HTTPParserError:
            return "\(base) answers, but not in HTTP: does it speak HTTPS?"
        default:
            return "cannot reach \(base): \(error); is the server running?"
        }
    }

    private struct ModelList: Decodable {
        struct Model: Decodable { let id: String }
        let data: [Model]
    }
}
