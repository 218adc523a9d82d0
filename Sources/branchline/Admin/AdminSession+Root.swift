import ControlModel
import CoordinatorClient
import Cryptography

extension AdminSession {
    /// Signs with the root key, and checks what was signed.
    func rootSigned(
        _ statement: Statement, _ trust: Trust, _ passphrase: PassphraseOptions
    ) throws -> String {
        let root = try rootKey(trust, passphrase)
        let link = try statement.signed(by: root)
        if case .admin = statement {
            _ = try trust.verifier.verifyAdmin(StatementChain([link]), at: now)
        }
        return link
    }

    /// As ``revoke(_:in:_:_:)``, by the root's word.
    func revokeByRoot(
        _ revocations: [Revocation], in realm: RevocationList.Realm, _ trust: Trust,
        _ passphrase: PassphraseOptions
    ) async throws {
        let root = try rootKey(trust, passphrase)
        try await revokeByRoot(revocations, in: realm, trust, signedBy: root)
    }

    func revokeByRoot(
        _ revocations: [Revocation], in realm: RevocationList.Realm, _ trust: Trust,
        signedBy root: borrowing SigningKey
    ) async throws {
        let old = trust.verifier.revocations.list(of: realm)
        let now = now
        let list = RevocationList.next(after: old, in: realm, revoking: revocations, at: now)
        let chain = StatementChain([try Statement.revocations(list).signed(by: root)])
        var verifier = trust.verifier
        try verifier.acceptRevocations(chain, at: now)
        try await put(chain, in: realm, after: old?.number ?? 0)
    }

    private func rootKey(
        _ trust: Trust, _ passphrase: PassphraseOptions
    ) throws -> SigningKey {
        let root = try folder.openKey(.rootKey, passphrase)
        let key = root.verifyingKey
        guard trust.verifier.anchors.anchors.last?.key == key else {
            throw Failure.failed(
                "\(folder.path(.rootKey)) holds \(key), which is not the organisation's root now; "
                    + "put the right key there")
        }
        return root
    }
}
