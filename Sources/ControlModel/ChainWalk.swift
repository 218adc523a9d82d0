import Cryptography
import PacketFormats

/// One way from the root down a chain; whoever gets to the end has verified every link.
///
/// For each link, in this order:
/// 1. the text is an envelope;
/// 2. its key is the one that the link before names, and may sign this kind of statement;
/// 3. the signature is right;
/// 4. the content is one of this kind and version;
/// 5. it counts at this time;
/// 6. it is no wider than what is above it.
/// At the end, once the tenant is known: nothing on the way was revoked.
struct ChainWalk {
    private(set) var admin: AdminKey?
    private(set) var token: EnrolmentToken?
    private(set) var list: (RevocationList, Signature)?

    private let verifier: Verifier
    private let now: Int64
    private let isTokenUsedNow: Bool
    private var level = Level.root
    private var root: VerifyingKey?
    private var grant: Grant?
    private var rotation: KeyRotation?
    private var signatures: [Signature] = []
    private var validUntil = TrustLimits.timeMax
    /// Of this chain. One key in two places could pass one statement off as another.
    private var keys: Set<VerifyingKey> = []

    /// Who signs the next link.
    private enum Level {
        case root
        case admin(AdminKey)
        case token(EnrolmentToken, AdminKey)
        case grant(Grant)
        case end
    }

    init(
        _ chain: StatementChain, verifier: Verifier, now: Int64, isTokenUsedNow: Bool
    ) throws(Refusal) {
        self.verifier = verifier
        self.now = now
        self.isTokenUsedNow = isTokenUsedNow
        guard !chain.links.isEmpty else { throw Refusal(.chainEmpty) }
        guard chain.links.count <= TrustLimits.chainLinksMax else {
            throw Refusal(.chainTooLong, "more than \(TrustLimits.chainLinksMax) links")
        }
        for link in chain.links { try take(try Envelope(parsing: link)) }
        try checkRevocations()
    }

    /// - Throws: `wrongType` where the chain ends elsewhere, `revocationListStale` where the
    ///   policy wants newer lists.
    func verifiedGrant() throws(Refusal) -> VerifiedGrant {
        guard let grant, let admin, let root else {
            throw Refusal(.wrongType, "no grant at the end")
        }
        try verifier.checkAgeOfRevocations(for: grant.tenant, at: now)
        return VerifiedGrant(
            grant: grant, publicKey: rotation?.publicKey ?? grant.publicKey, rotation: rotation,
            root: root, admin: admin, token: token, validUntil: validUntil, signatures: signatures)
    }

    private mutating func take(_ envelope: Envelope) throws(Refusal) {
        try checkSigner(of: envelope)
        guard envelope.isSigned else { throw Refusal(.signatureInvalid, envelope.kind.rawValue) }
        switch try Statement(kind: envelope.kind, payload: envelope.payload) {
        case .admin(let admin): try take(admin, from: envelope)
        case .token(let token): try take(token)
        case .grant(let grant): try take(grant, from: envelope)
        case .rotation(let rotation): try take(rotation, from: envelope)
        case .revocations(let list): try take(list, from: envelope)
        case .rollover: throw Refusal(.wrongType, "a rollover stands alone")
        }
    }

    /// The header's key and type against what the link before allows.
    private mutating func checkSigner(of envelope: Envelope) throws(Refusal) {
        let expected: VerifyingKey
        let kinds: Set<StatementKind>
        switch level {
        case .root:
            let anchor = try verifier.anchors.anchor(
                envelope.signer, at: now, skewSeconds: verifier.policy.skewSeconds)
            if let retiresAt = anchor.retiresAt { validUntil = min(validUntil, retiresAt) }
            keys.insert(anchor.key)
            root = anchor.key
            (expected, kinds) = (anchor.key, [.admin, .revocations])
        case .admin(let admin):
            expected = admin.key
            kinds = admin.mayRevoke ? [.token, .grant, .revocations] : [.token, .grant]
        case .token(let token, _): (expected, kinds) = (token.key, [.joinGrant])
        case .grant(let grant): (expected, kinds) = (grant.node, [.rotation])
        case .end: throw Refusal(.chainTooLong, "nothing may follow here")
        }
        guard envelope.signer == expected else {
            let isKnown = keys.contains(envelope.signer)
                || verifier.anchors.contains(envelope.signer)
            throw Refusal(
                isKnown ? .keyNotAllowed : .unknownIssuer,
                "\(envelope.kind.rawValue) by \(envelope.signer) instead of \(expected)")
        }
        guard kinds.contains(envelope.kind) else {
            throw Refusal(.keyNotAllowed, "\(expected) may not sign a \(envelope.kind.rawValue)")
        }
    }

    private mutating func take(_ admin: AdminKey, from envelope: Envelope) throws(Refusal) {
        try claim(admin.key)
        try check(admin.validity, "admin key", secondsMax: TrustLimits.adminSecondsMax)
        self.admin = admin
        level = .admin(admin)
    }

    private mutating func take(_ token: EnrolmentToken) throws(Refusal) {
        guard case .admin(let admin) = level else { throw Refusal(.keyNotAllowed) }
        try claim(token.key)
        // The token's end is when joining ends; the node's grant may last longer.
        if isTokenUsedNow {
            try token.validity.check(
                "token", at: now, skewSeconds: verifier.policy.skewSeconds,
                secondsMax: TrustLimits.tokenSecondsMax)
        } else {
            try token.validity.checkBegun(
                "token", at: now, skewSeconds: verifier.policy.skewSeconds,
                secondsMax: TrustLimits.tokenSecondsMax)
        }
        try admin.checkScope(tenant: token.tenant, role: token.role, ceiling: token.ceiling)
        guard token.profiles.isSubset(of: admin.profiles) else {
            throw Refusal(.profileOutOfScope, "token of \(admin.key)")
        }
        guard token.grantSeconds <= admin.grantSeconds else {
            throw Refusal(.validityTooLong, "token's grant: at most \(admin.grantSeconds) s")
        }
        self.token = token
        level = .token(token, admin)
    }

    private mutating func take(_ grant: Grant, from envelope: Envelope) throws(Refusal) {
        try claim(grant.node)
        switch level {
        case .admin(let admin):
            try check(grant.validity, "grant", secondsMax: admin.grantSeconds)
            try admin.checkScope(of: grant)
        case .token(let token, let admin):
            try check(grant.validity, "grant", secondsMax: token.grantSeconds)
            try token.checkScope(of: grant)
            // What the admin may grant holds below the token, too.
            try admin.checkScope(of: grant)
        case .root, .grant, .end: throw Refusal(.keyNotAllowed)
        }
        try checkNumber(grant.serial, grant.validity, "serial")
        self.grant = grant
        signatures.append(envelope.signature)
        level = .grant(grant)
    }

    private mutating func take(_ rotation: KeyRotation, from envelope: Envelope) throws(Refusal) {
        guard case .grant(let grant) = level else { throw Refusal(.keyNotAllowed) }
        try check(rotation.validity, "rotation", secondsMax: TrustLimits.grantSecondsMax)
        guard rotation.tenant == grant.tenant else {
            throw Refusal(.mixedTenant, "rotation for \(rotation.tenant) under \(grant.tenant)")
        }
        guard rotation.serial == grant.serial else {
            throw Refusal(.superseded, "rotation of grant \(rotation.serial), not \(grant.serial)")
        }
        try checkNumber(rotation.turn, rotation.validity, "turn")
        self.rotation = rotation
        signatures.append(envelope.signature)
        level = .end
    }

    private mutating func take(_ list: RevocationList, from envelope: Envelope) throws(Refusal) {
        if case .admin(let admin) = level {
            switch list.realm {
            case .organisation where admin.tenants != .all:
                throw Refusal(.tenantOutOfScope, "list of the organisation by \(admin.key)")
            case .tenant(let tenant) where !admin.tenants.includes(tenant):
                throw Refusal(.tenantOutOfScope, "list of \(tenant) by \(admin.key)")
            case .organisation, .tenant: break
            }
        }
        self.list = (list, envelope.signature)
        level = .end
    }

    private mutating func claim(_ key: VerifyingKey) throws(Refusal) {
        guard keys.insert(key).inserted, !verifier.anchors.contains(key) else {
            throw Refusal(.duplicateKey, "\(key) is in the chain twice")
        }
    }

    private mutating func check(
        _ validity: Validity, _ what: String, secondsMax: Int64
    ) throws(Refusal) {
        try validity.check(
            what, at: now, skewSeconds: verifier.policy.skewSeconds, secondsMax: secondsMax)
        validUntil = min(validUntil, validity.until)
    }

    private func checkNumber(
        _ number: Int64, _ validity: Validity, _ what: String
    ) throws(Refusal) {
        guard number <= validity.from else {
            throw Refusal(.numberAhead, "\(what) \(number) from \(validity.from) on")
        }
    }

    private func checkRevocations() throws(Refusal) {
        let revocations = verifier.revocations
        let tenant = grant?.tenant ?? token?.tenant ?? listTenant
        if let admin { try revocations.check(admin, in: tenant) }
        if let token { try revocations.check(token, in: tenant) }
        guard let grant else { return }
        try revocations.check(grant, publicKey: rotation?.publicKey ?? grant.publicKey)
    }

    private var listTenant: Name? {
        guard case .tenant(let tenant) = list?.0.realm else { return nil }
        return tenant
    }
}
