public import ControlModel
import Cryptography
import Synchronization

/// What a node asks and tells about itself.
extension CoordinatorService {
    /// - Parameter secret: `bln_` and 43 characters.
    /// - Throws: `unauthenticated`, `node_revoked`.
    public func node(forSecret secret: String) async throws -> NodeIdentity {
        let hash = try Self.hash(ofSecret: secret, prefix: Self.nodeSecretPrefix)
        let row = try await storage.read { connection in
            try connection.rows(
                "SELECT \(NodeRow.columns) FROM nodes WHERE secret_hash = ?", [.bytes(hash)]
            ).first.map(NodeRow.init)
        }
        guard let row else {
            throw CoordinatorAPI.Problem.unauthenticated("no node here has this secret")
        }
        return try NodeIdentity(row)
    }

    public func ownState(
        _ identity: NodeIdentity
    ) async throws -> CoordinatorAPI.OwnState {
        let now = now()
        return try await storage.read { [presences] connection in
            let tenant = try TenantRow.find(identity.tenant, connection)
            let row = try NodeRow.require(identity.tenant, identity.node, connection)
            let behind = try Self.gatewaysBehind(tenant, presences, connection, at: now)
            return CoordinatorAPI.OwnState(
                state: row.state, chain: row.chain, number: tenant.changeNumber,
                gatewaysBehind: behind)
        }
    }

    /// Takes the node's next WireGuard key.
    ///
    /// - Parameter chain: The node's chain with a rotation at its end.
    public func rotate(
        _ identity: NodeIdentity, _ chain: CoordinatorAPI.SignedChain
    ) async throws -> CoordinatorAPI.OwnState {
        let now = now()
        try await withTrust(of: identity.tenant) { trust in
            let (verified, chain) = try refusing { () throws(Refusal) in
                let chain = try StatementChain(parsing: chain.chain)
                return (try trust.verifier.verifyGrant(chain, at: now), chain)
            }
            guard verified.node == identity.node, verified.tenant == identity.tenant else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.keyNotAllowed, "a rotation of another node"))
            }
            guard let rotation = verified.rotation else {
                throw CoordinatorAPI.Problem.refused(Refusal(.wrongType, "no rotation at the end"))
            }
            guard takeOwnChange(identity) else {
                throw CoordinatorAPI.Problem(
                    .rateLimited, status: 429,
                    detail: "the node changes itself too often: try again in 10 s")
            }
            try await write(as: identity.actor) { transaction in
                try trust.confirm(transaction)
                try Self.requireAdmin(verified.admin, transaction)
                var row = try NodeRow.require(
                    identity.tenant, identity.node, transaction.connection)
                guard row.chain != chain.text else { return }
                try Self.checkRotation(of: row, rotation, chain)
                row.chain = chain.text
                row.publicKey = verified.publicKey.base64
                row.turn = rotation.turn
                row.validUntil = verified.validUntil
                try Self.setKey(of: row, verified, transaction)
            }
        }
        return try await ownState(identity)
    }

    public func report(
        _ identity: NodeIdentity, _ report: CoordinatorAPI.Report
    ) async throws {
        guard report.refusals.count <= Self.refusalsMax,
            report.refusals.values.allSatisfy({ (0...Self.refusalCountMax).contains($0) }),
            [report.appliedNumber, report.tenantRevocations, report.organisationRevocations]
                .allSatisfy({ (0...TrustLimits.integerMax).contains($0) })
        else { throw CoordinatorAPI.Problem.invalidRequest("the report's numbers are impossible") }
        _ = try Texts.optionalLabel(report.agentVersion, "agent's version")
        let endpoint = try report.endpoint.map(Texts.endpoint)
        if storage.isShared, identity.role == .gateway {
            try await learnAcceptance(identity.tenant.text, report.tenantRevocations)
            try await learnAcceptance("", report.organisationRevocations)
        }
        presences.report(identity.key, role: identity.role, report, at: now())
        if let endpoint { try await setEndpoint(endpoint, of: identity) }
        // Elsewhere somebody may wait until this gateway has caught up.
        if storage.isShared, identity.role == .gateway { try await writePresences() }
    }

    public func leave(_ identity: NodeIdentity) async throws {
        try await write(as: identity.actor) { transaction in
            guard let row = try NodeRow.find(
                identity.tenant, identity.node, transaction.connection),
                row.state != .left, row.state != .revoked
            else { return }
            try NodeTable(transaction).setState(of: row, to: .left)
            try transaction.audit("node.leave", row.node, in: identity.tenant, ["name": row.name])
        }
        presences.forget(identity.key)
    }

    /// Notes that a node's stream began, is alive, or ended. Kept in memory, written now and then.
    public func seen(_ identity: NodeIdentity, connected isConnected: Bool) {
        presences.seen(identity.key, isConnected: isConnected, at: now())
    }

    /// Gateways that are there, but have not applied the newest change that concerns gateways.
    private static func gatewaysBehind(
        _ tenant: TenantRow, _ presences: Presences, _ connection: any StorageConnection,
        at now: Int64
    ) throws -> Int {
        let rows = try connection.rows(
            """
            SELECT node, applied_number, last_seen_at FROM nodes
                WHERE tenant = ? AND role = 'gateway' AND state = 'active' AND is_by_hand = 0
            """, [.text(tenant.name.text)])
        return try rows.filter { row in
            guard let node = VerifyingKey(base64URL: try row.text(0)) else { return false }
            let presence = presences[.init(tenant: tenant.name, node: node)]
            let seenAt = max(presence?.lastSeenAt ?? 0, try row.integerOrNil(2) ?? 0)
            let applied = max(presence?.appliedNumber ?? 0, try row.integerOrNil(1) ?? 0)
            let isThere = presence?.isConnected ?? false
                || now - seenAt <= ServiceLimits.gatewayAwaySeconds
            return isThere && applied < tenant.gatewayNumber
        }.count
    }

    private static func checkRotation(
        of row: NodeRow, _ rotation: KeyRotation, _ chain: StatementChain
    ) throws {
        guard row.state == .active else {
            throw CoordinatorAPI.Problem.nodeSuspended(
                "the node is \(row.state.rawValue): it rotates its key once it is active")
        }
        let grant = row.turn > 0 ? row.chain.split(separator: "~").dropLast() : row.chain.split(
            separator: "~")
        guard chain.links.dropLast() == grant.map(String.init)[...] else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.superseded, "the node has another grant: fetch it first"))
        }
        guard rotation.turn > row.turn else {
            let reason: Refusal.Reason = rotation.turn == row.turn ? .serialReused : .superseded
            throw CoordinatorAPI.Problem.refused(
                Refusal(reason, "turn \(rotation.turn), the node has \(row.turn)"))
        }
    }

    private static func setKey(
        of row: NodeRow, _ verified: VerifiedGrant, _ transaction: Transaction
    ) throws {
        try NodeTable(transaction).claimKeys(of: verified)
        try transaction.execute(
            """
            UPDATE nodes SET chain = ?, public_key = ?, turn = ?, valid_until = ?,
                revision = revision + 1 WHERE tenant = ? AND node = ?
            """, .text(row.chain), .text(row.publicKey), .integer(row.turn),
            .integer(row.validUntil), .text(row.tenant), .text(row.node))
        try transaction.publish(.init(peer: row.peer), to: row.peers, in: row.tenant)
        try transaction.audit(
            "node.rotate", row.node, in: verified.tenant,
            ["turn": "\(row.turn)", "public-key": row.publicKey])
    }

    private func takeOwnChange(_ identity: NodeIdentity) -> Bool {
        let key = "\(identity.tenant) \(identity.node)"
        return ownChanges.withLock { $0.take(key, now: now() * 1_000_000_000) } == .allowed
    }

    /// Takes a node's word for where it is reached, unless an admin's is there.
    private func setEndpoint(_ endpoint: String, of identity: NodeIdentity) async throws {
        let isNew: @Sendable (any StorageConnection) throws -> NodeRow? = { connection in
            guard let row = try NodeRow.find(identity.tenant, identity.node, connection),
                !row.isEndpointFixed, row.endpoint != endpoint
            else { return nil }
            return row
        }
        // Beyond the rate, a later report brings it.
        guard try await storage.read(isNew) != nil, takeOwnChange(identity) else { return }
        try await write(as: identity.actor) { transaction in
            guard var row = try isNew(transaction.connection) else { return }
            row.endpoint = endpoint
            row.revision += 1
            try Self.update(row, transaction)
            try transaction.audit(
                "node.endpoint", row.node, in: identity.tenant, ["endpoint": endpoint])
        }
    }

    /// When a list came into force that another replica accepted.
    private func learnAcceptance(_ realm: String, _ number: Int64) async throws {
        guard number > 0, !presences.knows(realm, number: number) else { return }
        let row = try await storage.read { connection in
            try connection.rows(
                """
                SELECT number, accepted_at_milliseconds FROM revocation_lists WHERE realm = ?
                """, [.text(realm)]
            ).first
        }
        guard let row else { return }
        let ago = Self.wallClockMilliseconds() - (try row.integer(1))
        presences.accepted(
            realm, number: try row.integer(0), agoMilliseconds: max(ago, 0))
    }

    private static let refusalsMax = 128
    private static let refusalCountMax = 1 << 40
}
