import ControlModel
import CoordinatorClient
import Cryptography

/// What an admin believes before signing: the organisation's statements as the coordinator hands
/// them out, each verified, none older than what was seen before.
struct Trust: Sendable {
    let verifier: Verifier
    let organisation: CoordinatorAPI.Organisation
    /// Whose list the verifier holds beside the organisation's.
    let tenant: Name?
    let seen: SeenStatements
}

extension AdminSession {
    /// 1. Fetch the organisation, and the tenant's list.
    /// 2. Follow the root's rollovers from the root that is known.
    /// 3. Take in the lists on top of those that were seen before.
    /// 4. Remember both.
    func trust(_ tenant: Name?) async throws -> Trust {
        let organisation: CoordinatorAPI.Organisation = try await get("/v1/organisation")
        var list: CoordinatorAPI.RevocationsRecord?
        if let tenant { list = try await get("/v1/tenants/\(tenant)/revocations") }
        guard let anchors = login.anchors else {
            throw Failure.failed(
                "\(folder.path(.login)) names no root; restore it, or remove it and log in again")
        }
        let now = now
        var seen = try SeenStatements(folder)
        var revocations = Revocations()
        for text in seen.lists { try revocations.restore(text) }
        var verifier = Verifier(anchors: anchors, revocations: revocations)
        for rollover in organisation.rollovers { try follow(rollover, &verifier, at: now) }
        try accept(organisation.revocations, of: .organisation, &verifier, at: now)
        if let tenant { try accept(list?.chain, of: .tenant(tenant), &verifier, at: now) }
        if verifier.anchors != anchors {
            var changed = login
            changed.anchors = verifier.anchors
            try changed.save(folder)
        }
        if verifier.revocations.texts != seen.lists {
            seen.lists = verifier.revocations.texts
            try seen.save(folder)
        }
        return Trust(
            verifier: verifier, organisation: organisation, tenant: tenant, seen: seen)
    }

    /// Rollovers from before the first root that is known mean nothing here.
    private func follow(
        _ rollover: String, _ verifier: inout Verifier, at now: Int64
    ) throws {
        do throws(Refusal) {
            try verifier.follow(rollover, at: now)
        } catch {
            guard error.reason == .unknownIssuer else { throw error }
        }
    }

    private func accept(
        _ chain: String?, of realm: RevocationList.Realm, _ verifier: inout Verifier,
        at now: Int64
    ) throws {
        let old = verifier.revocations.list(of: realm)
        guard let chain else {
            guard let old else { return }
            throw Refusal(.revocationListBackwards, "none after \(old.number)")
        }
        do throws(Refusal) {
            _ = try verifier.acceptRevocations(try StatementChain(parsing: chain), at: now)
        } catch {
            // The signer's key may be over since; then it is the list that was believed before.
            let isKnown = StatementChain.lastLink(of: chain)
                .map(verifier.revocations.texts.contains) ?? false
            guard [.expired, .rootRetired].contains(error.reason), isKnown else { throw error }
        }
        guard verifier.revocations.list(of: realm) != nil else {
            throw Refusal(.wrongType, "a revocation list of another realm")
        }
    }

    /// What the admin's own key may sign, under its newest statement.
    func authority(_ trust: Trust) throws -> Authority {
        guard let key = try folder.publicKey(.adminKey) else {
            throw Failure.failed(
                "there is no admin's key in \(folder.path), so nothing can be signed; make one "
                    + "with `branchline admin request`")
        }
        let own = try folder.text(.adminLink)
        let handed = trust.organisation.admins.filter { $0.key == key.base64URL }
            .map(\.statement)
        var best: Authority?
        var refusal: Refusal?
        for link in (own.map { [$0] } ?? []) + handed {
            do {
                let authority = try Authority(link: link, verifier: trust.verifier, at: now)
                guard authority.admin.key == key else { continue }
                if best.map({ trust.isBetter(authority, than: $0) }) ?? true { best = authority }
            } catch {
                refusal = error
            }
        }
        guard let best else {
            throw refusal
                ?? Failure.failed(
                    "the root has not signed the key in \(folder.path(.adminKey)); hand over what "
                        + "`branchline admin request` prints")
        }
        if best.link != own { try folder.write(.adminLink, text: best.link) }
        return best
    }

    /// Signs the next revocation list and hands it out.
    ///
    /// - Parameter passphrase: Of the admin's key.
    func revoke(
        _ revocations: [Revocation], in realm: RevocationList.Realm, _ trust: Trust,
        _ passphrase: PassphraseOptions
    ) async throws {
        let authority = try authority(trust)
        let key = try folder.openKey(.adminKey, passphrase)
        try await revoke(revocations, in: realm, trust, authority, signedBy: key)
    }

    func revoke(
        _ revocations: [Revocation], in realm: RevocationList.Realm, _ trust: Trust,
        _ authority: Authority, signedBy key: borrowing SigningKey
    ) async throws {
        guard authority.admin.mayRevoke else {
            throw Failure.failed(
                "your admin's key may not revoke; ask an admin whose key may, see "
                    + "`branchline admin show`")
        }
        let old = trust.verifier.revocations.list(of: realm)
        let now = now
        let list = RevocationList.next(after: old, in: realm, revoking: revocations, at: now)
        let chain = try authority.chain(of: list, signedBy: key, at: now)
        try await put(chain, in: realm, after: old?.number ?? 0)
    }

    /// - Parameter number: Of the list that this one follows: if somebody was faster, it is theirs
    ///   that must be followed.
    func put(
        _ chain: StatementChain, in realm: RevocationList.Realm, after number: Int64
    ) async throws {
        let path =
            switch realm {
            case .organisation: "/v1/organisation/revocations"
            case .tenant(let tenant): "/v1/tenants/\(tenant)/revocations"
            }
        try await client.call(
            .put, path, body: CoordinatorAPI.SignedChain(chain: chain.text), ifMatch: number,
            timeoutSeconds: 30)
        guard let text = chain.links.last else { return }
        var revocations = Revocations()
        var seen = try SeenStatements(folder)
        for old in seen.lists + [text] { try revocations.restore(old) }
        seen.lists = revocations.texts
        try seen.save(folder)
    }
}

extension Trust {
    /// Whether to sign under this statement of a key: the newest root's come first, as older roots
    /// retire, then those that count longest.
    fileprivate func isBetter(_ one: Authority, than other: Authority) -> Bool {
        let isFirst = isByNewestRoot(one), isSecond = isByNewestRoot(other)
        if isFirst != isSecond { return isFirst }
        return one.admin.validity.until > other.admin.validity.until
    }

    private func isByNewestRoot(_ authority: Authority) -> Bool {
        guard let root = verifier.anchors.anchors.last?.key else { return false }
        let newest = Verifier(anchors: RootAnchors(root: root))
        let moment = authority.admin.validity.from
        return (try? newest.verifyAdmin(StatementChain([authority.link]), at: moment)) != nil
    }
}
