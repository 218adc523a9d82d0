import ControlModel
import FoundationEssentials

/// Which bearer tokens of an OpenID Connect provider count, and for what.
///
/// A JSON file with members in snake case:
///
///     {"issuer": "https://sso.example", "audience": "branchline", "algorithms": ["ES256"],
///      "jwks": "/etc/branchline/jwks.json", "role_claim": "branchline_role",
///      "roles": {"network-owners": "owner"}, "tenant_claim": "branchline_tenant",
///      "clock_skew_seconds": 60}
///
/// Keys come from the file named by `jwks` alone: nothing that a token says is ever fetched.
struct OIDCConfiguration: Codable, Hashable, Sendable {
    var issuer: String
    /// What a token's `aud` must be or contain.
    var audience: String
    /// Of ``algorithmsKnown``; all are asymmetric.
    var algorithms: [String]
    /// A file with a JSON Web Key Set; read again when it changes.
    var jwks: String
    /// The claim that holds the role, as a text or a list of texts.
    var roleClaim: String
    /// Roles by the claim's values; where absent, values are role names themselves.
    var roles: [String: CoordinatorAPI.AccessRole]?
    /// The claim that holds the tenant; needed for security admins.
    var tenantClaim: String?
    var clockSkewSeconds: Int64?

    static let algorithmsKnown: Set<String> = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ]
    static var skewSecondsMax: Int64 { 300 }

    /// - Throws: `StateFault` with what is wrong in the file.
    init(file path: String) throws {
        do {
            self = try APIJSON.decode(from: StateFolder.read(path, bytesMax: 64 << 10))
        } catch let error as DecodingError {
            throw StateFault("\(path): \(DecodingFault.describe(error)).")
        }
        try check(path)
    }

    var skewSeconds: Int64 { clockSkewSeconds ?? 60 }

    private func check(_ path: String) throws {
        func fail(_ what: String) -> StateFault { StateFault("\(path): \(what).") }
        if issuer.isEmpty { throw fail("issuer is empty") }
        if audience.isEmpty { throw fail("audience is empty") }
        if algorithms.isEmpty { throw fail("algorithms is empty: name those that are allowed") }
        if let unknown = algorithms.first(where: { !Self.algorithmsKnown.contains($0) }) {
            throw fail(
                "algorithm \(unknown) cannot be allowed; known are "
                    + Self.algorithmsKnown.sorted().joined(separator: ", "))
        }
        if jwks.contains("://") {
            throw fail("jwks must be a file: keys are never fetched")
        }
        guard (0...Self.skewSecondsMax).contains(skewSeconds) else {
            throw fail("clock_skew_seconds must be 0 to \(Self.skewSecondsMax)")
        }
    }
}
