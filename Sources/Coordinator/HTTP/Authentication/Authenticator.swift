import ControlModel
import Cryptography
import Logging
import PacketMemory

/// Who is calling, by the bearer token of the request's head alone.
struct Authenticator: Sendable {
    enum Caller: Hashable, Sendable {
        case nobody
        case principal(Principal)
        case node(NodeIdentity)
    }

    let service: CoordinatorService
    let oidc: OIDCVerifier?

    /// Every token that does not count costs about the same and gets the same answer.
    ///
    /// - Parameter authorization: The header's value.
    /// - Throws: `unauthenticated`; for a revoked node `node_revoked`.
    func caller(_ authorization: String?) async throws -> Caller {
        let token = Self.bearer(authorization)
        do {
            if let token, Self.hasForm(token, "bln_") {
                return .node(try await service.node(forSecret: token))
            }
            if let token, let oidc, token.contains(".") {
                return .principal(try await oidc.principal(for: token))
            }
            // Whatever it is, it is looked up: how long it takes tells nothing about its form.
            let isWellFormed = token.map { Self.hasForm($0, "bla_") } ?? false
            let principal = try await service.principal(
                forAPIToken: isWellFormed ? token ?? Self.nobodys : Self.nobodys)
            guard isWellFormed else { throw Self.refusal }
            return .principal(principal)
        } catch is OIDCVerifier.Refused {
            throw Self.refusal
        } catch let problem as CoordinatorAPI.Problem
            where problem.reason == CoordinatorAPI.Reason.unauthenticated.rawValue
        {
            throw Self.refusal
        }
    }

    static let refusal = CoordinatorAPI.Problem.unauthenticated(
        "send a valid bearer token: an API token of this coordinator, a node's secret, or a token "
            + "of its OpenID Connect provider")

    private static func bearer(_ authorization: String?) -> String? {
        guard let authorization, authorization.utf8.count <= tokenBytesMax else { return nil }
        let parts = authorization.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return String(parts[1])
    }

    private static func hasForm(_ token: String, _ prefix: String) -> Bool {
        let bytes = token.utf8
        return bytes.count == prefix.utf8.count + 43 && token.hasPrefix(prefix)
            && bytes.dropFirst(prefix.utf8.count).allSatisfy(base64URL.contains)
    }

    private static let base64URL = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    /// A token that nobody has: of this process, never handed out.
    private static let nobodys = "bla_" + Secret32.random().withBytes { Base64URL.encode($0) }
    private static var tokenBytesMax: Int { 8 << 10 + 16 }
}
