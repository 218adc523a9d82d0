import ControlModel
import HTTPTypes
import Hummingbird
import NIOCore

/// Makes answers.
enum APIAnswer {
    static func json(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, etag: Int64? = nil
    ) throws -> Response {
        bytes(try APIJSON.encode(value), type: "application/json", status: status, etag: etag)
    }

    static func bytes(
        _ bytes: [UInt8], type: String, status: HTTPResponse.Status = .ok, etag: Int64? = nil
    ) -> Response {
        var headers: HTTPFields = [.contentType: type]
        if let etag { headers[.eTag] = "\"\(etag)\"" }
        return Response(
            status: status, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    static func nothing(etag: Int64? = nil) -> Response {
        var headers = HTTPFields()
        if let etag { headers[.eTag] = "\"\(etag)\"" }
        return Response(status: .noContent, headers: headers)
    }

    /// Lines of JSON, written as they come.
    static func lines(
        _ write: @escaping @Sendable (inout any ResponseBodyWriter) async throws -> Void
    ) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/x-ndjson"],
            body: ResponseBody(write))
    }

    /// - Parameter requestID: As in `X-Request-ID`, so that a problem alone leads to the log.
    static func problem(_ problem: CoordinatorAPI.Problem, requestID: String) -> Response {
        let body = ProblemBody(problem: problem, requestID: requestID)
        let bytes = (try? APIJSON.encode(body)) ?? []
        var response = Self.bytes(
            bytes, type: "application/problem+json",
            status: HTTPResponse.Status(code: problem.status))
        if problem.status == 401 {
            response.headers[.wwwAuthenticate] = "Bearer realm=\"branchline\""
        }
        return response
    }

    private struct ProblemBody: Encodable {
        var type = "about:blank"
        var reason: String
        var title: String
        var status: Int
        var detail: String
        var failures: [String]?
        var requestID: String

        enum CodingKeys: String, CodingKey {
            case type, reason, title, status, detail, failures
            case requestID = "request_id"
        }

        init(problem: CoordinatorAPI.Problem, requestID: String) {
            reason = problem.reason
            title = problem.title
            status = problem.status
            detail = problem.detail
            failures = problem.failures
            self.requestID = requestID
        }
    }
}
