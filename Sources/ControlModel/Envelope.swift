import Cryptography

/// One JWS in its compact form: parsed, its signature not yet checked.
///
/// The protected header is exactly `alg`, `kid` and `typ`. The algorithm is EdDSA with Ed25519, and
/// `kid` is the signer's whole public key. It only says which key is meant: that key is believed
/// because of the chain above it, never because of the header.
///
/// Source: RFC 7515, sections 3.1 and 7.1; RFC 8037, section 3.1; RFC 8725.
struct Envelope: Hashable, Sendable {
    let kind: StatementKind
    let signer: VerifyingKey
    let payload: [UInt8]
    let signature: Signature
    private let signingInput: [UInt8]

    init(parsing text: String) throws(Refusal) {
        let bytes = Array(text.utf8)
        guard bytes.count <= TrustLimits.revocationListBytesMax else {
            throw Refusal(.tooLarge, "\(bytes.count) bytes")
        }
        let parts = bytes.split(
            separator: Self.dot, maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }) else {
            throw Refusal(.notCompact, "\(parts.count) parts")
        }
        guard parts[0].count <= TrustLimits.headerBytesMax else {
            throw Refusal(.tooLarge, "header")
        }
        (kind, signer) = try Self.readHeader(try Self.decode(parts[0], "header"))
        guard bytes.count <= kind.bytesMax else {
            throw Refusal(.tooLarge, "\(kind.rawValue): \(bytes.count) bytes")
        }
        payload = try Self.decode(parts[1], "payload")
        guard let signature = Signature(bytes: try Self.decode(parts[2], "signature")) else {
            throw Refusal(.signatureInvalid, "not 64 bytes")
        }
        self.signature = signature
        signingInput = Array(bytes[..<(parts[1].endIndex)])
    }

    /// Whether `signer` signed exactly this.
    var isSigned: Bool { signer.isValid(signature, for: signingInput) }

    static func text(
        kind: StatementKind, payload: [UInt8], signedBy key: borrowing SigningKey
    ) throws(Refusal) -> String {
        let header = try CanonicalJSON.encode(Header(kind: kind, signer: key.verifyingKey))
        let input = "\(Base64URL.encode(header)).\(Base64URL.encode(payload))"
        return "\(input).\(Base64URL.encode(key.sign([UInt8](input.utf8)).bytes))"
    }

    private struct Header: Codable {
        var alg: String
        var kid: String
        var typ: String

        init(kind: StatementKind, signer: VerifyingKey) {
            alg = Envelope.algorithm
            kid = signer.base64URL
            typ = kind.rawValue
        }
    }

    private static func readHeader(
        _ bytes: [UInt8]
    ) throws(Refusal) -> (StatementKind, VerifyingKey) {
        // Named apart: a parameter such as crit, b64, jku, jwk or x5u changes what the signature
        // means or where its key comes from.
        if let name = try CanonicalJSON.names(in: bytes).subtracting(parameters).min() {
            throw Refusal(.headerNotAllowed, Refusal.excerpt(of: name))
        }
        let header: Header = try CanonicalJSON.decode(bytes)
        guard header.alg == algorithm else {
            throw Refusal(.algorithmNotAllowed, Refusal.excerpt(of: header.alg))
        }
        guard let kind = StatementKind(rawValue: header.typ) else {
            throw Refusal(.wrongType, Refusal.excerpt(of: header.typ))
        }
        let signer = try Claim.valid(VerifyingKey(base64URL: header.kid), "kid")
        try CanonicalJSON.check(
            bytes, against: try CanonicalJSON.encode(Header(kind: kind, signer: signer)))
        return (kind, signer)
    }

    private static func decode(
        _ part: ArraySlice<UInt8>, _ name: String
    ) throws(Refusal) -> [UInt8] {
        guard let bytes = Base64URL.decode(Array(part)) else {
            throw Refusal(.notBase64URL, name)
        }
        return bytes
    }

    private static var algorithm: String { "EdDSA" }
    private static var parameters: Set<String> { ["alg", "kid", "typ"] }
    private static var dot: UInt8 { UInt8(ascii: ".") }
}
