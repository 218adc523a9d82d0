import Cryptography

/// What a verifier has seen, and what therefore cannot be true as well.
///
/// One statement alone proves nothing about replay; the second use of a token shows only beside
/// the first. The first that is seen counts.
public struct TrustMemory: Hashable, Sendable {
    private struct Enrolment: Hashable, Sendable {
        var node: VerifyingKey
        var publicKey: PublicKey
        var until: Int64
    }

    private struct Seen: Hashable, Sendable {
        var serial: Int64
        var turn: Int64
        var role: Role
        var signatures: [Signature]
        /// The grant's key and the one in use.
        var publicKeys: Set<PublicKey>
        var until: Int64
    }

    private struct Owner: Hashable, Sendable {
        var node: VerifyingKey
        var until: Int64
    }

    private var enrolments: [TokenID: Enrolment] = [:]
    private var nodes: [VerifyingKey: [Name: Seen]] = [:]
    private var owners: [PublicKey: Owner] = [:]

    public init() {}

    /// Remembers a grant unless it contradicts what was seen; then nothing changes.
    ///
    /// - Throws: `tokenReplayed`, `mixedTenant`, `superseded`, `serialReused`, `keyInUse` or
    ///   `memoryFull`.
    public mutating func admit(_ verified: VerifiedGrant) throws(Refusal) {
        try checkToken(of: verified)
        try checkTenant(of: verified.grant)
        try checkOrder(of: verified)
        for key in verified.publicKeys {
            guard let owner = owners[key], owner.node != verified.node else { continue }
            throw Refusal(.keyInUse, "\(key) is of \(owner.node)")
        }
        try checkRoom(for: verified)
        remember(verified)
    }

    /// Drops what no valid statement can contradict any more.
    ///
    /// - Parameter now: In Unix seconds.
    public mutating func forgetExpired(at now: Int64) {
        let limit = now - TrustLimits.skewSecondsMax
        enrolments = enrolments.filter { $0.value.until > limit }
        owners = owners.filter { $0.value.until > limit }
        nodes = nodes.compactMapValues { tenants in
            let left = tenants.filter { $0.value.until > limit }
            return left.isEmpty ? nil : left
        }
    }

    /// Nodes that are remembered.
    public var count: Int { nodes.count }

    private func checkToken(of verified: VerifiedGrant) throws(Refusal) {
        guard let token = verified.token, let first = enrolments[token.id] else { return }
        guard first.node == verified.node, first.publicKey == verified.grant.publicKey else {
            throw Refusal(.tokenReplayed, "token \(token.id) was used by \(first.node)")
        }
    }

    /// A gateway serves several tenants. Anything else has one.
    private func checkTenant(of grant: Grant) throws(Refusal) {
        for (tenant, seen) in nodes[grant.node] ?? [:] where tenant != grant.tenant {
            guard seen.role == .gateway, grant.role == .gateway else {
                throw Refusal(.mixedTenant, "\(grant.node) is of \(tenant)")
            }
        }
    }

    private func checkOrder(of verified: VerifiedGrant) throws(Refusal) {
        guard let seen = nodes[verified.node]?[verified.tenant] else { return }
        let serial = verified.grant.serial, turn = verified.rotation?.turn ?? 0
        guard (serial, turn) >= (seen.serial, seen.turn) else {
            throw Refusal(
                .superseded, "grant \(serial).\(turn) after \(seen.serial).\(seen.turn)")
        }
        // Of one serial there is one grant, and of one turn one rotation.
        let isSameGrant = verified.signatures.first == seen.signatures.first
        let isSameTurn = verified.signatures == seen.signatures
        guard serial > seen.serial || isSameGrant && (turn > seen.turn || isSameTurn) else {
            throw Refusal(.serialReused, "two grants \(serial).\(turn)")
        }
    }

    private func checkRoom(for verified: VerifiedGrant) throws(Refusal) {
        let limit = TrustLimits.rememberedMax
        let newKeys = verified.publicKeys.filter { owners[$0] == nil }.count
        let newTokens = verified.token.map { enrolments[$0.id] == nil ? 1 : 0 } ?? 0
        let newNodes = nodes[verified.node] == nil ? 1 : 0
        guard nodes.count + newNodes <= limit, owners.count + newKeys <= limit,
            enrolments.count + newTokens <= limit
        else { throw Refusal(.memoryFull, "more than \(limit)") }
    }

    private mutating func remember(_ verified: VerifiedGrant) {
        let grant = verified.grant
        if let token = verified.token {
            enrolments[token.id] = Enrolment(
                node: grant.node, publicKey: grant.publicKey, until: token.lastGrantUntil)
        }
        // An older grant may last longer than this one, and must not come back after it.
        let old = nodes[grant.node]?[grant.tenant]
        nodes[grant.node, default: [:]][grant.tenant] = Seen(
            serial: grant.serial, turn: verified.rotation?.turn ?? 0, role: grant.role,
            signatures: verified.signatures, publicKeys: verified.publicKeys,
            until: max(old?.until ?? 0, grant.validity.from + TrustLimits.grantSecondsMax))
        forgetKeys(old?.publicKeys ?? [], of: grant.node)
        for key in verified.publicKeys {
            let until = max(grant.validity.until, owners[key]?.until ?? 0)
            owners[key] = Owner(node: grant.node, until: until)
        }
    }
}

extension TrustMemory {
    /// Keys that a node has rotated away from; otherwise one node could fill the memory.
    private mutating func forgetKeys(_ keys: Set<PublicKey>, of node: VerifyingKey) {
        let used = (nodes[node] ?? [:]).values.reduce(into: Set()) { $0.formUnion($1.publicKeys) }
        for key in keys.subtracting(used) where owners[key]?.node == node { owners[key] = nil }
    }
}

extension VerifiedGrant {
    /// The grant's key and the one in use.
    fileprivate var publicKeys: Set<PublicKey> { [grant.publicKey, publicKey] }
}
