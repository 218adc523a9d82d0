import ControlModel
import Cryptography
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import PacketFormats

/// One request to a route, authenticated and read, as a handler gets it.
struct APICall: Sendable {
    let parameters: [String: String]
    let caller: Authenticator.Caller
    let body: [UInt8]
    let head: HTTPRequest
    let query: QueryText
    let channel: any Channel
    let client: ClientAddress
    let log: Logger

    // MARK: Who

    func principal() throws -> Principal {
        switch caller {
        case .principal(let principal): return principal
        case .node:
            throw CoordinatorAPI.Problem.forbidden(
                "this is for admins: a node's secret does not count here")
        case .nobody: throw Authenticator.refusal
        }
    }

    func node() throws -> NodeIdentity {
        switch caller {
        case .node(let identity): return identity
        case .principal:
            throw CoordinatorAPI.Problem.forbidden(
                "this is for nodes: an API token does not count here")
        case .nobody: throw Authenticator.refusal
        }
    }

    // MARK: What

    /// - Throws: `invalid_request` with the member that is wrong.
    func decoded<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
        do {
            return try APIJSON.decode(Value.self, from: body)
        } catch let error as DecodingError {
            throw CoordinatorAPI.Problem.invalidRequest(
                "the body does not fit: \(DecodingFault.describe(error))")
        }
    }

    /// For what must be taken as it was meant, or not at all.
    ///
    /// - Throws: `invalid_request`, also for members that nobody knows.
    func decodedWhole<Value: Codable>(_ type: Value.Type = Value.self) throws -> Value {
        let value: Value = try decoded()
        let unknown = try APIJSON.unknownMembers(of: body, readAs: value)
        guard unknown.isEmpty else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "nothing is known of \(unknown.prefix(8).joined(separator: ", "))")
        }
        return value
    }

    /// - Throws: `not_found`: nothing has such a name.
    func tenant() throws -> Name { try named("tenant") { Name($0) } }
    func group() throws -> Name { try named("group") { Name($0) } }
    func nodeKey() throws -> VerifyingKey { try named("node") { VerifyingKey(base64URL: $0) } }
    func tokenID() throws -> TokenID { try named("token") { TokenID(base64URL: $0) } }

    func pool() throws -> IPPrefix {
        let length = try named("length") { Int($0) }
        return try named("address") { text in
            IPAddress(text).flatMap { IPPrefix($0, length: length) }
        }
    }

    func text(_ parameter: String) -> String { parameters[parameter] ?? "" }

    private func named<Value>(
        _ parameter: String, _ parse: (String) -> Value?
    ) throws -> Value {
        guard let value = parse(text(parameter)) else {
            throw CoordinatorAPI.Problem.notFound(
                "no \(parameter) can have the name that is in the path")
        }
        return value
    }

    /// The revision that the caller read.
    ///
    /// - Returns: `nil` without `If-Match`; the service says whether it is needed.
    func ifMatch() throws -> Int64? {
        let values = head.headerFields[values: .ifMatch]
        guard let value = values.first else { return nil }
        guard values.count == 1, let match = value.wholeMatch(of: /"([0-9]{1,16})"/),
            let revision = Int64(match.1)
        else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "If-Match must be one ETag as it was read, such as \"7\"")
        }
        return revision
    }

    /// `?after=&limit=` of a list.
    func page() throws -> (after: String?, limit: Int) {
        let limit = try query.integer("limit", in: 1...1000) ?? 100
        let after = try query.text("after")
        guard after.map({ $0.utf8.count <= 128 }) ?? true else {
            throw CoordinatorAPI.Problem.invalidRequest("after is not one that a list gave")
        }
        return (after, Int(limit))
    }
}
