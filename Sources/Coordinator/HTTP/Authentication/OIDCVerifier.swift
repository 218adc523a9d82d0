import ControlModel
import Cryptography
import FoundationEssentials
import JWTKit
import Synchronization

/// Says who a JWT's bearer is.
///
/// In this order, and every failure is the same refusal:
/// 1. three parts of base64url, bounded;
/// 2. the header's algorithm is allowed, its `kid` is one of the file's keys, the key is for this
///    algorithm, and nothing in the header says where another key may be found;
/// 3. the signature is right;
/// 4. issuer, audience, `exp` and `nbf` are as configured;
/// 5. role and tenant are what the claims say.
///
/// Source: RFC 7519, section 7.2; RFC 8725, section 3.
final class OIDCVerifier: Sendable {
    struct Refused: Error, Hashable {
        var reason: String
    }

    private let configuration: OIDCConfiguration
    private let now: @Sendable () -> Int64
    private let keys: Mutex<Keys>

    private struct Keys {
        var byID: [String: JWK]
        var fileState: FileState
        var checkedAt: Int64
    }

    private struct FileState: Hashable {
        var modified: Double
        var size: Int
    }

    /// - Throws: `StateFault` where the key set cannot be read.
    init(configuration: OIDCConfiguration, now: @escaping @Sendable () -> Int64) throws {
        self.configuration = configuration
        self.now = now
        keys = Mutex(
            Keys(
                byID: try Self.readKeys(configuration),
                fileState: Self.fileState(configuration.jwks), checkedAt: now()))
    }

    func principal(for token: String) async throws(Refused) -> Principal {
        guard token.utf8.count <= Self.tokenBytesMax else { throw Refused(reason: "too large") }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = Self.decode(parts[0], as: Header.self) else {
            throw Refused(reason: "not a JWT")
        }
        let key = try key(for: header)
        let claims = try await Self.verified(token, key, header)
        try check(claims)
        return try principal(claims)
    }

    // MARK: Header and key

    private struct Header: Decodable {
        var alg: String
        var kid: String?
        var typ: String?
        // Ways to another key, and what changes a token's meaning: their presence is enough.
        var jku: Anything?
        var jwk: Anything?
        var x5u: Anything?
        var x5c: Anything?
        var crit: Anything?
        var b64: Anything?
    }

    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }

    private func key(for header: Header) throws(Refused) -> JWK {
        guard configuration.algorithms.contains(header.alg) else {
            throw Refused(reason: "algorithm not allowed")
        }
        let hasDetour = header.jku != nil || header.jwk != nil || header.x5u != nil
            || header.x5c != nil || header.crit != nil || header.b64 != nil
        guard !hasDetour else { throw Refused(reason: "header not allowed") }
        guard let kid = header.kid, let key = currentKeys()[kid] else {
            throw Refused(reason: "unknown key")
        }
        guard Self.fits(key, header.alg) else { throw Refused(reason: "key of another algorithm") }
        return key
    }

    private static func fits(_ key: JWK, _ algorithm: String) -> Bool {
        if let named = key.algorithm, named.rawValue != algorithm { return false }
        return switch algorithm {
        case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512": key.keyType == .rsa
        case "ES256": key.keyType == .ecdsa && key.curve == .ecdsa(.p256)
        case "ES384": key.keyType == .ecdsa && key.curve == .ecdsa(.p384)
        case "ES512": key.keyType == .ecdsa && key.curve == .ecdsa(.p521)
        case "EdDSA": key.keyType == .octetKeyPair && key.curve == .eddsa(.ed25519)
        default: false
        }
    }

    /// Looks at the file once a second at most. A file that cannot be read leaves the keys as
    /// they are: it may be in the middle of being replaced.
    private func currentKeys() -> [String: JWK] {
        let now = now()
        return keys.withLock { keys in
            guard keys.checkedAt != now else { return keys.byID }
            keys.checkedAt = now
            let state = Self.fileState(configuration.jwks)
            if state != keys.fileState, let byID = try? Self.readKeys(configuration) {
                keys.byID = byID
                keys.fileState = state
            }
            return keys.byID
        }
    }

    private static func fileState(_ path: String) -> FileState {
        let attributes = (try? FileManager.default.attributesOfItem(atPath: path)) ?? [:]
        return FileState(
            modified: (attributes[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0,
            size: (attributes[.size] as? Int) ?? 0)
    }

    private static func readKeys(
        _ configuration: OIDCConfiguration
    ) throws -> [String: JWK] {
        let bytes = try StateFolder.read(configuration.jwks, bytesMax: 1 << 20)
        guard let set = try? JSONDecoder().decode(JWKS.self, from: Data(bytes)) else {
            throw StateFault("\(configuration.jwks): it is not a JSON Web Key Set.")
        }
        var keys: [String: JWK] = [:]
        for var key in set.keys {
            guard let id = key.keyIdentifier?.string else { continue }
            // Private halves have no business here, and are not used.
            (key.privateExponent, key.prime1, key.prime2) = (nil, nil, nil)
            keys[id] = key
        }
        return keys
    }

    // MARK: Signature and claims

    private struct Claims: JWTPayload {
        var values: [String: Value]

        init(from decoder: any Decoder) throws {
            values = try decoder.singleValueContainer().decode([String: Value].self)
        }

        func encode(to encoder: any Encoder) throws {}

        /// Checked by whoever asked: `exp` is required, and the clock is an argument.
        func verify(using algorithm: some JWTAlgorithm) throws {}
    }

    /// What a claim may be, as far as it matters here.
    private enum Value: Decodable, Sendable {
        case text(String)
        case number(Double)
        case texts([String])
        case other

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self = .text(text)
            } else if let number = try? container.decode(Double.self) {
                self = .number(number)
            } else if let texts = try? container.decode([String].self) {
                self = .texts(texts)
            } else {
                self = .other
            }
        }
    }

    private static func verified(
        _ token: String, _ key: JWK, _ header: Header
    ) async throws(Refused) -> [String: Value] {
        var key = key
        key.algorithm = JWK.Algorithm(rawValue: header.alg)
        do {
            // Of this key alone: a collection falls back to a default key otherwise.
            let collection = try await JWTKeyCollection().add(jwk: key)
            return try await collection.verify(token, as: Claims.self).values
        } catch {
            throw Refused(reason: "signature")
        }
    }

    private func check(_ claims: [String: Value]) throws(Refused) {
        guard case .text(configuration.issuer) = claims["iss"] else {
            throw Refused(reason: "issuer")
        }
        guard Self.texts(claims["aud"]).contains(configuration.audience) else {
            throw Refused(reason: "audience")
        }
        let (now, skew) = (Double(now()), Double(configuration.skewSeconds))
        guard case .number(let end) = claims["exp"], end.isFinite, now < end + skew else {
            throw Refused(reason: "expired, or without an end")
        }
        switch claims["nbf"] {
        case nil: break
        case .number(let start) where now >= start - skew: break
        default: throw Refused(reason: "not yet valid")
        }
    }

    private func principal(_ claims: [String: Value]) throws(Refused) -> Principal {
        guard case .text(let subject) = claims["sub"], !subject.isEmpty,
            subject.utf8.count <= Self.subjectBytesMax,
            subject.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
        else { throw Refused(reason: "subject") }
        let roles = Set(Self.texts(claims[configuration.roleClaim]).compactMap(role))
        guard let role = CoordinatorAPI.AccessRole.allCases.first(where: roles.contains) else {
            throw Refused(reason: "no role")
        }
        var tenant: Name?
        if let name = configuration.tenantClaim, let claim = claims[name] {
            guard case .text(let text) = claim, let valid = Name(text) else {
                throw Refused(reason: "tenant")
            }
            tenant = valid
        }
        guard role != .securityAdmin || tenant != nil else { throw Refused(reason: "no tenant") }
        // An owner of one tenant does not exist: who is confined to one is its security admin.
        guard role != .owner || tenant == nil else { throw Refused(reason: "tenant of an owner") }
        return Principal(
            actor: "oidc:\(configuration.issuer) \(subject)", role: role, tenant: tenant)
    }

    private func role(_ text: String) -> CoordinatorAPI.AccessRole? {
        if let roles = configuration.roles { return roles[text] }
        return CoordinatorAPI.AccessRole(rawValue: text)
    }

    private static func texts(_ value: Value?) -> [String] {
        switch value {
        case .text(let text): [text]
        case .texts(let texts): texts
        case .number, .other, nil: []
        }
    }

    private static func decode<Value: Decodable>(_ part: Substring, as: Value.Type) -> Value? {
        guard let bytes = Base64URL.decode(String(part)) else { return nil }
        return try? JSONDecoder().decode(Value.self, from: Data(bytes))
    }

    private static var tokenBytesMax: Int { 8 << 10 }
    private static var subjectBytesMax: Int { 255 }
}
