import Crypto
import Cryptography
import Foundation
import Synchronization

@testable import Coordinator

/// A time that tests set.
final class Clock: Sendable {
    private let seconds: Mutex<Int64>

    init(_ seconds: Int64) { self.seconds = Mutex(seconds) }

    var now: Int64 { seconds.withLock { $0 } }

    func advance(_ by: Int64) { seconds.withLock { $0 += by } }
}

/// An OpenID Connect provider: keys, a key set in a file, tokens.
struct Provider: Sendable {
    static let now: Int64 = 1_800_000_000
    private let folder: TemporaryFolder
    private let es = P256.Signing.PrivateKey()
    private let other = P256.Signing.PrivateKey()
    private let ed = Curve25519.Signing.PrivateKey()

    init() throws {
        folder = try TemporaryFolder()
        let edKey: [String: any Sendable] = [
            "kty": "OKP", "crv": "Ed25519", "kid": "ed",
            "x": Base64URL.encode([UInt8](ed.publicKey.rawRepresentation)),
        ]
        var otherKey = Self.jwk(other, id: "es-other")
        otherKey["alg"] = "ES384"
        try writeKeys([Self.jwk(es, id: "es"), otherKey, edKey])
    }

    func verifier(
        _ changes: [String: any Sendable] = [:], clock: Clock = Clock(now)
    ) throws -> OIDCVerifier {
        var values: [String: any Sendable] = [
            "issuer": "https://sso.example", "audience": "branchline",
            "algorithms": ["ES256", "EdDSA"], "jwks": "\(folder.path)/jwks.json",
            "role_claim": "branchline_role", "tenant_claim": "branchline_tenant",
            "clock_skew_seconds": 60,
        ]
        values.merge(changes) { $1 }
        let file = try folder.write("oidc-\(UUID().uuidString).json", Self.json(values))
        return try OIDCVerifier(
            configuration: OIDCConfiguration(file: file), now: { clock.now })
    }

    func writeKeys(_ keys: [[String: any Sendable]]) throws {
        try writeText(Self.json(["keys": keys]))
    }

    func writeText(_ text: String) throws { _ = try folder.write("jwks.json", text) }

    func claims(_ changes: [String: any Sendable] = [:]) -> [String: any Sendable] {
        var claims: [String: any Sendable] = [
            "iss": "https://sso.example", "aud": "branchline", "sub": "alice",
            "exp": Self.now + 600, "nbf": Self.now - 10, "branchline_role": "security-admin",
            "branchline_tenant": "acme",
        ]
        claims.merge(changes) { $1 }
        return claims
    }

    func es256(
        _ claims: [String: any Sendable], key: P256.Signing.PrivateKey? = nil,
        header changes: [String: any Sendable] = [:]
    ) throws -> String {
        var header: [String: any Sendable] = ["alg": "ES256", "kid": "es", "typ": "JWT"]
        header.merge(changes) { $1 }
        let text = try unsigned(header, claims)
        let signature = try (key ?? es).signature(for: Data(text.utf8))
        return "\(text).\(Base64URL.encode([UInt8](signature.rawRepresentation)))"
    }

    func edDSA(_ claims: [String: any Sendable]) throws -> String {
        let text = try unsigned(["alg": "EdDSA", "kid": "ed", "typ": "JWT"], claims)
        return "\(text).\(Base64URL.encode([UInt8](try ed.signature(for: Data(text.utf8)))))"
    }

    func unsigned(
        _ header: [String: any Sendable], _ claims: [String: any Sendable]
    ) throws -> String {
        try [header, claims].map { Base64URL.encode([UInt8](try Self.json($0).utf8)) }
            .joined(separator: ".")
    }

    /// What an attacker may take for a shared secret.
    var publicTexts: [Data] {
        [
            es.publicKey.rawRepresentation, es.publicKey.x963Representation,
            es.publicKey.derRepresentation, Data(es.publicKey.pemRepresentation.utf8), Data(),
        ]
    }

    static func jwk(_ key: P256.Signing.PrivateKey, id: String) -> [String: any Sendable] {
        let point = [UInt8](key.publicKey.rawRepresentation)
        return [
            "kty": "EC", "crv": "P-256", "kid": id, "x": Base64URL.encode(Array(point[..<32])),
            "y": Base64URL.encode(Array(point[32...])),
        ]
    }

    static func json(_ value: [String: any Sendable]) throws -> String {
        String(
            decoding: try JSONSerialization.data(withJSONObject: value, options: [.sortedKeys]),
            as: UTF8.self)
    }
}
