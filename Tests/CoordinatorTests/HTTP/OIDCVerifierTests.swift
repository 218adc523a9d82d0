import ControlModel
import Crypto
import Cryptography
import Foundation
import Testing

@testable import Coordinator

/// Tokens of a provider, made here with keys of all kinds.
@Suite struct OIDCVerifierTests {
    private static let now: Int64 = 1_800_000_000
    private let provider: Provider

    init() throws { provider = try Provider() }

    @Test func aGoodTokenIsItsBearer() async throws {
        let verifier = try provider.verifier()
        for token in [
            try provider.es256(provider.claims()), try provider.edDSA(provider.claims()),
        ] {
            let principal = try await verifier.principal(for: token)
            #expect(principal.actor == "oidc:https://sso.example alice")
            #expect(principal.role == .securityAdmin)
            #expect(principal.tenant == Name("acme"))
        }
    }

    @Test func rolesMayBeMapped() async throws {
        let verifier = try provider.verifier(["roles": ["net-owners": "owner", "all": "observer"]])
        var claims = provider.claims(["branchline_role": ["all", "net-owners"]])
        claims["branchline_tenant"] = nil
        let principal = try await verifier.principal(for: try provider.es256(claims))
        #expect(principal.role == .owner)
        #expect(principal.tenant == nil)
    }

    @Test func theAudienceMayBeOneOfSeveral() async throws {
        let token = try provider.es256(provider.claims(["aud": ["other", "branchline"]]))
        _ = try await provider.verifier().principal(for: token)
    }

    @Test(arguments: [
        ("iss", "https://evil.example"), ("iss", nil), ("iss", ["https://sso.example"]),
        ("aud", "other"), ("aud", nil), ("aud", [String]()), ("aud", "branchlin"),
        ("exp", nil), ("exp", now - 61), ("exp", "\(now + 600)"), ("nbf", now + 61),
        ("nbf", "soon"), ("sub", nil), ("sub", ""), ("sub", "a\nb"),
        ("branchline_role", nil), ("branchline_role", "root"), ("branchline_role", "owner"),
        ("branchline_tenant", nil), ("branchline_tenant", "Not A Name"),
        ("branchline_tenant", ["acme"]),
    ] as [(String, (any Sendable)?)])
    func aWrongClaimIsRefused(name: String, value: (any Sendable)?) async throws {
        var claims = provider.claims()
        claims[name] = value
        await expectRefused(try provider.es256(claims))
    }

    @Test func clocksMayDifferALittle() async throws {
        let claims = provider.claims(["exp": Self.now - 59, "nbf": Self.now + 60])
        _ = try await provider.verifier().principal(for: try provider.es256(claims))
    }

    @Test func unsignedTokensAreRefused() async throws {
        for algorithm in ["none", "None", "NONE", ""] {
            let text = try provider.unsigned(
                ["alg": algorithm, "kid": "es", "typ": "JWT"], provider.claims())
            await expectRefused(text + ".")
            await expectRefused(text)
            await expectRefused(text + ".AAAA")
        }
    }

    @Test func aPublicKeyIsNoSharedSecret() async throws {
        let text = try provider.unsigned(
            ["alg": "HS256", "kid": "es", "typ": "JWT"], provider.claims())
        for secret in provider.publicTexts {
            let code = HMAC<Crypto.SHA256>.authenticationCode(
                for: Data(text.utf8), using: SymmetricKey(data: secret))
            await expectRefused("\(text).\(Base64URL.encode([UInt8](code)))")
        }
    }

    @Test func aHeaderMayNotSayWhereAKeyIs() async throws {
        for (name, value) in [
            ("jku", "https://169.254.169.254/jwks"), ("x5u", "file:///etc/passwd"),
            ("crit", "exp"), ("x5c", "MIIB"),
        ] {
            let token = try provider.es256(provider.claims(), header: [name: value])
            await expectRefused(token)
        }
        let own = P256.Signing.PrivateKey()
        let token = try provider.es256(
            provider.claims(), key: own, header: ["jwk": Provider.jwk(own, id: "es")])
        await expectRefused(token)
    }

    @Test func unknownAndForeignKeysAreRefused() async throws {
        await expectRefused(try provider.es256(provider.claims(), header: ["kid": "nobody"]))
        await expectRefused(try provider.es256(provider.claims(), header: ["kid": ""]))
        await expectRefused(
            try provider.es256(provider.claims(), key: P256.Signing.PrivateKey()))
        // A key of another kind, and one for another use of the same kind.
        await expectRefused(try provider.es256(provider.claims(), header: ["kid": "ed"]))
        await expectRefused(try provider.es256(provider.claims(), header: ["kid": "es-other"]))
        var header = ["alg": "ES256", "typ": "JWT"]
        header["kid"] = nil
        await expectRefused(try provider.unsigned(header, provider.claims()) + ".AAAA")
    }

    @Test func algorithmsThatAreNotNamedAreRefused() async throws {
        let verifier = try provider.verifier(["algorithms": ["EdDSA"]])
        let token = try provider.es256(provider.claims())
        await #expect(throws: OIDCVerifier.Refused.self) {
            try await verifier.principal(for: token)
        }
    }

    @Test func aTokenThatWasChangedIsRefused() async throws {
        let token = try provider.es256(provider.claims())
        let parts = token.split(separator: ".").map(String.init)
        let other = try provider.es256(provider.claims(["sub": "bob"]))
            .split(separator: ".").map(String.init)
        await expectRefused("\(parts[0]).\(other[1]).\(parts[2])")
        await expectRefused("\(parts[0]).\(parts[1]).\(other[2])")
        await expectRefused("\(parts[0]).\(parts[1])")
        await expectRefused("\(token).x")
        await expectRefused("\(parts[0]).\(parts[1]).")
        await expectRefused("..")
        await expectRefused(String(repeating: "a", count: 9000))
    }

    @Test func keysAreReadAgainWhenTheFileChanges() async throws {
        let clock = Clock(Self.now)
        let verifier = try provider.verifier(clock: clock)
        let next = P256.Signing.PrivateKey()
        let token = try provider.es256(provider.claims(), key: next, header: ["kid": "next"])
        await #expect(throws: OIDCVerifier.Refused.self) {
            try await verifier.principal(for: token)
        }
        try provider.writeKeys([Provider.jwk(next, id: "next")])
        clock.advance(2)
        _ = try await verifier.principal(for: token)
        let old = try provider.es256(provider.claims())
        await #expect(throws: OIDCVerifier.Refused.self) {
            try await verifier.principal(for: old)
        }
        // A file that is broken for a moment leaves the keys as they were.
        try provider.writeText("{")
        clock.advance(2)
        _ = try await verifier.principal(for: token)
    }

    @Test(arguments: [
        ["algorithms": ["none"]], ["algorithms": ["HS256"]], ["algorithms": [String]()],
        ["issuer": ""], ["audience": ""], ["jwks": "https://sso.example/jwks"],
        ["clock_skew_seconds": 301], ["roles": ["a": "root"]],
    ] as [[String: any Sendable]])
    func configurationsThatAreUnsafeAreRefused(changes: [String: any Sendable]) throws {
        #expect(throws: StateFault.self) { try provider.verifier(changes) }
    }

    private func expectRefused(
        _ token: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await #expect(throws: OIDCVerifier.Refused.self, sourceLocation: sourceLocation) {
            try await provider.verifier().principal(for: token)
        }
    }
}
