public import Cryptography
import PacketMemory

/// Everything that a node needs to join, as one string to hand over. It is a secret.
///
/// `bl1~ROOT~SEED~ADMIN~TOKEN`: the root's public key (as short as a fingerprint of it would be),
/// the seed of the delegated key, the admin's key as the root signed it and the token as the admin
/// signed it. The token holds the coordinator's address and pinned key, so nobody on the way can
/// send the node elsewhere without making up a root of his own.
///
/// As a `String` it cannot be wiped; whoever reads it from a file wipes and removes the file.
public struct JoinText: ~Copyable, Sendable {
    public let root: VerifyingKey
    /// Admin key and token.
    public let chain: StatementChain
    public let token: EnrolmentToken
    private let key: SigningKey

    /// Signs a new token.
    ///
    /// - Parameter adminLink: The admin's key, as the root signed it.
    /// - Parameter token: Its `key` is that of `key`.
    /// - Throws: What a node would say about it now, such as `tenantOutOfScope`.
    public init(
        root: VerifyingKey, adminLink: String, token: EnrolmentToken, key: consuming SigningKey,
        signedBy admin: borrowing SigningKey, at now: Int64, policy: TrustPolicy = TrustPolicy()
    ) throws(Refusal) {
        let link = try Statement.token(token).signed(by: admin)
        try self.init(
            root: root, chain: StatementChain([adminLink, link]), key: key, now: now,
            policy: policy)
    }

    /// Reads the string, and verifies all of it against the root that it names.
    ///
    /// - Parameter now: In Unix seconds.
    public init(
        parsing text: String, at now: Int64, policy: TrustPolicy = TrustPolicy()
    ) throws(Refusal) {
        guard text.utf8.count <= TrustLimits.joinTextBytesMax else {
            throw Refusal(.tooLarge, "join text")
        }
        let parts = text.split(
            separator: StatementChain.separator, maxSplits: 5, omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0] == Self.prefix else {
            throw Refusal(.notAJoinText, "it has five parts and begins with \(Self.prefix)")
        }
        guard let root = VerifyingKey(base64URL: String(parts[1])) else {
            throw Refusal(.notAJoinText, "root key")
        }
        guard let seed = Self.seed(String(parts[2])) else {
            throw Refusal(.notAJoinText, "token's key")
        }
        try self.init(
            root: root, chain: StatementChain([String(parts[3]), String(parts[4])]),
            key: SigningKey(seed: seed), now: now, policy: policy)
    }

    private init(
        root: VerifyingKey, chain: StatementChain, key: consuming SigningKey, now: Int64,
        policy: TrustPolicy
    ) throws(Refusal) {
        let verifier = Verifier(anchors: RootAnchors(root: root), policy: policy)
        let token = try verifier.verifyToken(chain, at: now)
        guard key.verifyingKey == token.key else {
            throw Refusal(.seedMismatch, "token \(token.id)")
        }
        self.root = root
        self.chain = chain
        self.token = token
        self.key = key
    }

    /// Reveals the token's key, as handing it over must.
    public borrowing func unsafeText() -> String {
        let seed = key.withSeed { Base64URL.encode($0) }
        let parts = [Self.prefix, root.base64URL, seed] + chain.links
        return parts.joined(separator: String(StatementChain.separator))
    }

    /// The node's own grant, signed with the token's key, under its chain.
    ///
    /// - Throws: What a verifier would say, such as `addressOutOfScope`.
    public borrowing func join(
        with grant: Grant, at now: Int64, policy: TrustPolicy = TrustPolicy()
    ) throws(Refusal) -> StatementChain {
        let joined = chain.appending(try Statement.grant(grant).signed(by: key))
        let verifier = Verifier(anchors: RootAnchors(root: root), policy: policy)
        _ = try verifier.verifyEnrolment(joined, at: now)
        return joined
    }

    private static func seed(_ text: String) -> Secret32? {
        var seed = Secret32()
        let count = seed.withMutableBytes { seed in
            ByteArena.withCopy(of: Array(text.utf8)) { text in
                defer { SecureMemory.wipe(text) }
                return Base64URL.decode(text, into: seed)
            }
        }
        guard count == Secret32.count else { return nil }
        return consume seed
    }

    private static var prefix: String { "bl1" }
}
