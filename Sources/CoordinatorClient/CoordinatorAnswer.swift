import ControlModel
import NIOHTTP1

/// An answer as it came, in full.
struct CoordinatorAnswer: Sendable {
    var status: HTTPResponseStatus
    var headers: HTTPHeaders
    var body: [UInt8]

    /// What the answer says.
    ///
    /// - Throws: `CoordinatorAPI.Problem` where it says what went wrong.
    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        try checkStatus()
        // Nothing to say is an object without members.
        if body.isEmpty, let value = try? APIJSON.decode(type, from: Array("{}".utf8)) {
            return value
        }
        guard mediaType == "application/json" else {
            throw ClientFault.notACoordinator("it sent \(mediaType ?? "no content type")")
        }
        do {
            return try APIJSON.decode(type, from: body)
        } catch {
            throw ClientFault.notACoordinator("its JSON is not what version 1 says")
        }
    }

    func checkStatus() throws {
        guard !(200..<300).contains(status.code) else { return }
        if mediaType == "application/problem+json",
            let problem = try? APIJSON.decode(CoordinatorAPI.Problem.self, from: body)
        {
            throw Self.plain(problem)
        }
        if (300..<400).contains(status.code) {
            let place = headers.first(name: "location").map(Self.excerpt) ?? "elsewhere"
            throw ClientFault.notACoordinator("it sends on to \(place), which is not followed")
        }
        throw ClientFault.notACoordinator("it answered with status \(status.code)")
    }

    /// A problem's words without control characters: they go to logs and terminals.
    private static func plain(_ problem: CoordinatorAPI.Problem) -> CoordinatorAPI.Problem {
        func plain(_ text: String) -> String {
            let scalars = text.unicodeScalars.prefix(problemCharactersMax)
            return String(String.UnicodeScalarView(scalars.map { $0.isControl ? " " : $0 }))
        }
        return CoordinatorAPI.Problem(
            reason: plain(problem.reason), title: plain(problem.title), status: problem.status,
            detail: plain(problem.detail), failures: problem.failures?.map(plain))
    }

    private static var problemCharactersMax: Int { 2_000 }

    /// The revision that the answer is of, as `If-Match` takes it.
    var etag: Int64? {
        guard let text = headers.first(name: "etag"), text.count > 2, text.hasPrefix("\""),
            text.hasSuffix("\"")
        else { return nil }
        return Int64(text.dropFirst().dropLast())
    }

    /// The content type in lower case, without its parameters.
    var mediaType: String? {
        headers.first(name: "content-type").map { text in
            Self.excerpt(text.prefix { $0 != ";" }.lowercased().filter { $0 != " " })
        }
    }

    private static func excerpt(_ text: String) -> String {
        String(text.filter { $0.isASCII && !$0.isNewline }.prefix(ClientLimits.excerptCount))
    }
}
