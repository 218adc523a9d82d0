public import ControlModel
import Cryptography
import FoundationEssentials

extension CoordinatorService {
    public func organisationRevocations(
        by principal: Principal
    ) async throws -> CoordinatorAPI.RevocationsRecord {
        try principal.check(.readOrganisation)
        return try await storage.read { try RevocationTable.record("", $0) }
    }

    public func setOrganisationRevocations(
        _ chain: CoordinatorAPI.SignedChain, ifMatch: Int64?, by principal: Principal
    ) async throws -> CoordinatorAPI.RevocationsRecord {
        try principal.check(.changeOrganisation)
        return try await accept(chain, of: .organisation, ifMatch: ifMatch, by: principal)
    }

    public func revocations(
        _ tenant: Name, by principal: Principal
    ) async throws -> CoordinatorAPI.RevocationsRecord {
        try principal.check(.readTenant, in: tenant)
        return try await storage.read { connection in
            try TenantRow.require(tenant, connection)
            return try RevocationTable.record(tenant.text, connection)
        }
    }

    public func setRevocations(
        _ tenant: Name, _ chain: CoordinatorAPI.SignedChain, ifMatch: Int64?,
        by principal: Principal
    ) async throws -> CoordinatorAPI.RevocationsRecord {
        try principal.check(.changeTenant, in: tenant)
        try await storage.read { try TenantRow.require(tenant, $0) }
        return try await accept(chain, of: .tenant(tenant), ifMatch: ifMatch, by: principal)
    }

    /// Takes in a newer list, changes the states of all nodes and tokens that it concerns, and
    /// tells the nodes of its realm.
    private func accept(
        _ signed: CoordinatorAPI.SignedChain, of realm: RevocationList.Realm, ifMatch: Int64?,
        by principal: Principal
    ) async throws -> CoordinatorAPI.RevocationsRecord {
        let tenant: Name? = if case .tenant(let name) = realm { name } else { nil }
        let now = now()
        let reported = try await newestReported(tenant)
        let record = try await withTrust(of: tenant) { trust in
            let old = trust.verifier.revocations.list(of: realm)
            try Self.check(ifMatch, old?.number ?? 0, "revocation list")
            let acceptance = try Self.verify(signed, realm, trust.verifier, at: now)
            // The very list that nodes have is what mends it.
            guard acceptance.list.number >= reported else {
                throw CoordinatorAPI.Problem.revocationsBehind(
                    acceptance.list.number, reported: reported)
            }
            return try await write(as: principal.actor) { transaction in
                try trust.confirm(transaction)
                if let admin = acceptance.admin { try Self.requireAdmin(admin, transaction) }
                if acceptance.list.number > old?.number ?? 0 {
                    try Self.store(acceptance, from: old, in: tenant, transaction)
                }
                return CoordinatorAPI.RevocationsRecord(
                    chain: acceptance.chain.text, number: acceptance.list.number)
            }
        }
        presences.accepted(tenant?.text ?? "", number: record.number)
        return record
    }

    /// The newest list of the realm that a node reported to believe; newer than this coordinator's
    /// own where that was restored from a backup.
    ///
    /// Since its start the coordinator has seen every list itself, and a list's number is no later
    /// than its signing. Higher numbers than the start are therefore not believed: a node that lies
    /// cannot keep out a list whose number is the present.
    private func newestReported(_ tenant: Name?) async throws -> Int64 {
        let column = tenant == nil ? "organisation_revocations" : "tenant_revocations"
        let limit = startedAt
        let written = try await storage.read { connection in
            try connection.rows(
                """
                SELECT MAX(\(column)) FROM nodes WHERE \(column) <= ? AND (? = 1 OR tenant = ?)
                """, [.integer(limit), .flag(tenant == nil), .text(tenant?.text ?? "")]
            )[0].integerOrNil(0)
        }
        return max(written ?? 0, presences.newestRevocations(tenant, upTo: limit))
    }

    private struct Acceptance: Sendable {
        var chain: StatementChain
        var list: RevocationList
        /// `nil` where the root signed it.
        var admin: AdminKey?
        /// Knows the list.
        var verifier: Verifier
    }

    private static func verify(
        _ signed: CoordinatorAPI.SignedChain, _ realm: RevocationList.Realm,
        _ verifier: Verifier, at now: Int64
    ) throws -> Acceptance {
        try refusing { () throws(Refusal) in
            let chain = try StatementChain(parsing: signed.chain)
            var next = verifier
            let list = try next.acceptRevocations(chain, at: now)
            guard list.realm == realm else {
                throw Refusal(.mixedTenant, "the list is of another realm")
            }
            let admin = chain.links.count > 1
                ? try verifier.verifyAdmin(StatementChain([chain.links[0]]), at: now) : nil
            return Acceptance(chain: chain, list: list, admin: admin, verifier: next)
        }
    }

    private static func store(
        _ acceptance: Acceptance, from old: RevocationList?, in tenant: Name?,
        _ transaction: Transaction
    ) throws {
        let list = acceptance.list
        try transaction.execute(
            """
            INSERT INTO revocation_lists (realm, chain, number, accepted_at_milliseconds)
                VALUES (?, ?, ?, ?) ON CONFLICT (realm) DO UPDATE SET chain = excluded.chain,
                number = excluded.number,
                accepted_at_milliseconds = excluded.accepted_at_milliseconds
            """, .text(tenant?.text ?? ""), .text(acceptance.chain.text), .integer(list.number),
            .integer(wallClockMilliseconds()))
        let change = CoordinatorAPI.NetworkChange(revocations: acceptance.chain.text)
        if let tenant {
            try transaction.publish(change, to: .all, in: tenant.text)
        } else {
            try bumpTrust(transaction)
            try transaction.publishEverywhere(change)
        }
        try transaction.audit(
            "revocations.set", "\(list.number)", in: tenant, ["entries": "\(list.entries.count)"])
        try enforce(acceptance, from: old, in: tenant, transaction)
    }

    /// Derives the states of whatever an entry concerns that is not as it was in the list before.
    private static func enforce(
        _ acceptance: Acceptance, from old: RevocationList?, in tenant: Name?,
        _ transaction: Transaction
    ) throws {
        let before = old?.entries ?? [:], after = acceptance.list.entries
        let changed = Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }
        var verifiers: [String: Revocations] = [:]
        if let tenant { verifiers[tenant.text] = acceptance.verifier.revocations }
        for subject in changed {
            if case .token(let id) = subject, after[subject] != nil {
                try endToken(id, in: tenant, transaction)
            }
            for row in try nodes(subject, in: tenant, transaction) {
                let revocations = try verifiers[row.tenant]
                    ?? acceptance.verifier.revocations.adding(
                        listOf: row.tenant, transaction.connection)
                verifiers[row.tenant] = revocations
                try enforce(revocations, on: row, transaction)
            }
        }
    }

    private static func enforce(
        _ revocations: Revocations, on row: NodeRow, _ transaction: Transaction
    ) throws {
        guard row.state != .revoked, row.state != .left, let name = Name(row.tenant) else { return }
        let state = revocations.state(of: row, in: name)
        guard state != row.state else { return }
        try NodeTable(transaction).setState(of: row, to: state)
        let action = switch state {
        case .revoked: "node.revoke"
        case .suspended: "node.suspend"
        case .pending, .active, .left: "node.resume"
        }
        try transaction.audit(action, row.node, in: name, ["name": row.name])
    }

    /// Nodes that an entry concerns by their key, admin, token or WireGuard key.
    private static func nodes(
        _ subject: Revocation.Subject, in tenant: Name?, _ transaction: Transaction
    ) throws -> [NodeRow] {
        let (column, value) = switch subject {
        case .admin(let key): ("admin", key.base64URL)
        case .token(let id): ("token", id.base64URL)
        case .node(let key): ("node", key.base64URL)
        case .publicKey(let key): ("public_key", key.base64)
        }
        return try transaction.rows(
            """
            SELECT \(NodeRow.columns) FROM nodes
                WHERE \(column) = ? AND (? = 1 OR tenant = ?) ORDER BY tenant, node
            """, .text(value), .flag(tenant == nil), .text(tenant?.text ?? "")
        ).map { try NodeRow($0) }
    }

    private static func endToken(
        _ id: TokenID, in tenant: Name?, _ transaction: Transaction
    ) throws {
        let rows = try transaction.rows(
            """
            SELECT tenant FROM tokens WHERE id = ? AND state = 'unused'
                AND (? = 1 OR tenant = ?)
            """, .text(id.base64URL), .flag(tenant == nil), .text(tenant?.text ?? ""))
        guard let owner = try rows.first.flatMap({ Name(try $0.text(0)) }) else { return }
        try endToken(id.base64URL, in: owner, as: .revoked, transaction)
        try transaction.audit("token.revoke", id.base64URL, in: owner)
    }

    /// For comparison between replicas, where no clock but this one is shared.
    static func wallClockMilliseconds() -> Int64 {
        Int64(Date().timeIntervalSince1970 * 1000)
    }
}

extension Revocations {
    fileprivate func adding(
        listOf tenant: String, _ connection: any StorageConnection
    ) throws -> Revocations {
        guard let chain = try RevocationTable.chain(tenant, connection),
            let text = StatementChain.lastLink(of: chain)
        else { return self }
        var all = self
        try refusing { () throws(Refusal) in try all.restore(text) }
        return all
    }

    /// What a node is that has neither left nor was revoked for good before.
    fileprivate func state(of row: NodeRow, in tenant: Name) -> CoordinatorAPI.NodeState {
        let lists = [list(of: .organisation), list(of: .tenant(tenant))].compactMap(\.self)
        func isRevoked(_ subject: Revocation.Subject?) -> Bool {
            subject.map { subject in lists.contains { $0.entries[subject] != nil } } ?? false
        }
        let serial = VerifyingKey(base64URL: row.node).flatMap { node in
            lists.compactMap { $0.entries[.node(node)]?.serial }.max()
        } ?? 0
        if serial == TrustLimits.integerMax { return .revoked }
        if serial >= row.serial || isRevoked(VerifyingKey(base64URL: row.admin).map { .admin($0) })
            || isRevoked(row.token.flatMap { TokenID(base64URL: $0) }.map { .token($0) })
            || isRevoked(PublicKey(base64: row.publicKey).map { .publicKey($0) }) {
            return .suspended
        }
        return row.needsApproval ? .pending : .active
    }
}
