import Hummingbird
import Logging

/// A refusal in the form of the OpenAI API: a status and an object with `message`, `type`,
/// `param` and `code`.
///
/// Source: https://platform.openai.com/docs/guides/error-codes
struct OpenAIError: Error, HTTPResponseError {
    /// The request itself is at fault.
    static let invalidRequest = "invalid_request_error"

    let status: HTTPResponse.Status
    let message: String
    var type = Self.invalidRequest
    /// The request's member that is at fault.
    var parameter: String?
    var code: String?

    static func invalid(_ parameter: String?, _ message: String, code: String? = nil) -> Self {
        Self(status: .badRequest, message: message, parameter: parameter, code: code)
    }

    static func unknownModel(_ name: String) -> Self {
        Self(
            status: .notFound, message: "The model `\(name)` does not exist.",
            parameter: "model", code: "model_not_found")
    }

    static func bodyTooLarge(bytesMax: Int) -> Self {
        Self(
            status: .contentTooLarge,
            message: "The request body is larger than \(bytesMax) bytes.",
            code: "request_too_large")
    }

    static func contextExceeded(tokenCount: Int, tokensMax: Int) -> Self {
        invalid(
            "messages",
            """
            The prompt has \(tokenCount) tokens and leaves no room for an answer \
            in a context of \(tokensMax) tokens.
            """, code: "context_length_exceeded")
    }

    static let overloaded = Self(
        status: .tooManyRequests,
        message: "Too many requests are waiting already; try again later.",
        type: "rate_limit_error", code: "rate_limit_exceeded")

    static let internalFailure = Self(
        status: .internalServerError, message: "The server failed on this request.",
        type: "server_error")

    func response(from request: Request, context: some RequestContext) throws -> Response {
        let body = Body(
            error: .init(message: message, type: type, param: parameter, code: code))
        return try JSONBody.response(body, status: status)
    }

    private struct Body: Encodable {
        let error: Content

        struct Content: Encodable {
            let message: String
            let type: String
            let param: String?
            let code: String?

            // Absent values are sent as null, which clients expect to find.
            func encode(to encoder: any Encoder) throws {
                var container = encoder.container(keyedBy: CodingKeys.self)
                try container.encode(message, forKey: .message)
                try container.encode(type, forKey: .type)
                try container.encode(param, forKey: .param)
                try container.encode(code, forKey: .code)
            }

            enum CodingKeys: CodingKey { case message, type, param, code }
        }
    }
}

/// Answers every failure of a route in the form of the API.
struct OpenAIErrorMiddleware<Context: RequestContext>: RouterMiddleware {
    func handle(
        _ request: Request, context: Context,
        next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as OpenAIError {
            return try error.response(from: request, context: context)
        } catch let error as HTTPError where error.status == .notFound {
            let refusal = OpenAIError(
                status: .notFound,
                message: "Unknown request URL: \(request.method) \(request.uri.path)",
                code: "unknown_url")
            return try refusal.response(from: request, context: context)
        } catch let error as HTTPError {
            let refusal = OpenAIError(
                status: error.status, message: error.body ?? error.status.reasonPhrase)
            return try refusal.response(from: request, context: context)
        } catch is CancellationError {
            // The client is gone, or the server is about to be: nobody reads an answer.
            throw CancellationError()
        } catch {
            context.logger.error("request failed", metadata: ["error": "\(error)"])
            return try OpenAIError.internalFailure.response(from: request, context: context)
        }
    }
}
