public import ControlModel
public import Cryptography

extension CoordinatorService {
    public func nodes(
        _ tenant: Name, by principal: Principal, after: String?, limit: Int
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.Node> {
        try principal.check(.readTenant, in: tenant)
        let now = now()
        return try await Self.page(storage, limit: limit, key: \.node) { connection, count in
            try TenantRow.require(tenant, connection)
            return try connection.rows(
                """
                SELECT \(NodeRow.columns) FROM nodes WHERE tenant = ? AND node > ?
                    ORDER BY node LIMIT ?
                """, [.text(tenant.text), .text(after ?? ""), .integer(count)]
            ).map { self.message(try NodeRow($0), at: now) }
        }
    }

    public func node(
        _ tenant: Name, _ node: VerifyingKey, by principal: Principal
    ) async throws -> CoordinatorAPI.Node {
        try principal.check(.readTenant, in: tenant)
        let row = try await storage.read { connection in
            try TenantRow.require(tenant, connection)
            return try NodeRow.require(tenant, node, connection)
        }
        return message(row, at: now())
    }

    public func addNodeByHand(
        _ tenant: Name, _ request: CoordinatorAPI.NodeByHand, by principal: Principal
    ) async throws -> CoordinatorAPI.Node {
        try principal.check(.changeTenant, in: tenant)
        let name = try Texts.nodeName(request.name)
        let row = try await withGrant(request.chain, in: tenant, by: principal) {
            verified, chain, transaction in
            let grant = verified.grant
            try NodeNames(tenant, transaction.connection).require(
                name, for: grant.node.base64URL)
            guard try Self.addresses(ofReservation: request.reservation, in: tenant, transaction)
                == grant.addresses
            else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.addressOutOfScope, "a node's addresses are exactly those reserved"))
            }
            try transaction.checkRoom(
                try transaction.tenant(tenant).nodeCount, ServiceLimits.nodesMax,
                "nodes in this tenant")
            try AddressTable(tenant, transaction.connection).handOver(
                from: .reservation(request.reservation), to: .node(grant.node.base64URL))
            try transaction.execute(
                "DELETE FROM reservations WHERE id = ?", .text(request.reservation))
            var row = NodeRow(verified, chain: chain, name: name, at: transaction.now)
            row.isByHand = true
            try NodeTable(transaction).add(row, verified, nil)
            try transaction.audit(
                "node.add", row.node, in: tenant,
                ["name": name, "role": row.role, "addresses": row.addresses])
            return row
        }
        return message(row, at: now())
    }

    public func changeNode(
        _ tenant: Name, _ node: VerifyingKey, _ change: CoordinatorAPI.NodeChange,
        ifMatch: Int64?, by principal: Principal
    ) async throws -> CoordinatorAPI.Node {
        try principal.check(.changeTenant, in: tenant)
        let name = try change.name.map(Texts.nodeName)
        let endpoint = try change.endpoint.map { $0.isEmpty ? $0 : try Texts.endpoint($0) }
        let preference = try NodePreferenceChange(change)
        let row = try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            var row = try NodeRow.require(tenant, node, transaction.connection)
            try Self.check(ifMatch, row.revision, "node")
            if let name, name != row.name {
                try NodeNames(tenant, transaction.connection).require(name, for: row.node)
                row.name = name
                // What is said of it by name, such as its line, is the node's own affair.
                try transaction.publish(.init(name: name), to: .node(node), in: row.tenant)
            }
            if let endpoint {
                guard row.role == Role.gateway.rawValue || endpoint.isEmpty else {
                    throw CoordinatorAPI.Problem.invalidRequest(
                        "\(row.name) is a \(row.role): others reach gateways alone by an endpoint")
                }
                // What an admin says stays, whatever the node reports; nothing takes it back.
                row.endpoint = endpoint.isEmpty ? nil : endpoint
                row.isEndpointFixed = !endpoint.isEmpty
            }
            try preference.apply(to: &row)
            row.revision += 1
            try Self.update(row, transaction)
            try transaction.audit(
                "node.change", row.node, in: tenant,
                ["name": row.name, "endpoint": row.endpoint ?? ""]
                    .merging(preference.details) { first, _ in first })
            return row
        }
        return message(row, at: now())
    }

    /// Approves, renews, resumes or regroups a node by a grant that an admin signed.
    public func setGrant(
        _ tenant: Name, _ node: VerifyingKey, _ grant: CoordinatorAPI.SignedChain,
        by principal: Principal
    ) async throws -> CoordinatorAPI.Node {
        try principal.check(.changeTenant, in: tenant)
        let row = try await withGrant(grant.chain, in: tenant, by: principal) {
            verified, chain, transaction in
            let old = try NodeRow.require(tenant, node, transaction.connection)
            if old.chain == chain.text { return old }
            try Self.checkSuccession(of: old, by: verified, transaction)
            var new = NodeRow(verified, chain: chain, name: old.name, at: old.joinedAt)
            new.endpoint = old.endpoint
            (new.priority, new.weight, new.health) = (old.priority, old.weight, old.health)
            try NodeTable(transaction).replaceGrant(of: old, by: new, verified)
            try transaction.audit(
                "node.grant", new.node, in: tenant,
                [
                    "serial": "\(new.serial)", "was": old.state.rawValue, "groups": new.groups,
                    "until": "\(new.validUntil)",
                ])
            return try NodeRow.require(tenant, node, transaction.connection)
        }
        return message(row, at: now())
    }

    /// Forgets a node that was revoked or has left.
    public func deleteNode(
        _ tenant: Name, _ node: VerifyingKey, by principal: Principal
    ) async throws {
        try principal.check(.changeTenant, in: tenant)
        try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            let row = try NodeRow.require(tenant, node, transaction.connection)
            guard row.state == .revoked || row.state == .left else {
                throw CoordinatorAPI.Problem.inUse(
                    "node \(node) is \(row.state.rawValue): revoke it first")
            }
            try transaction.execute(
                "DELETE FROM nodes WHERE tenant = ? AND node = ?", .text(row.tenant),
                .text(row.node))
            try transaction.audit("node.delete", row.node, in: tenant, ["name": row.name])
        }
        presences.forget(.init(tenant: tenant, node: node))
    }

    /// Writes name, endpoint and preference, and tells the node's peers.
    static func update(_ row: NodeRow, _ transaction: Transaction) throws {
        try transaction.execute(
            """
            UPDATE nodes SET name = ?, endpoint = ?, is_endpoint_fixed = ?, priority = ?,
                weight = ?, health = ?, revision = ?
                WHERE tenant = ? AND node = ?
            """, .text(row.name), .text(orNull: row.endpoint), .flag(row.isEndpointFixed),
            .integer(orNull: row.priority), .integer(orNull: row.weight),
            .text(orNull: row.health), .integer(row.revision), .text(row.tenant), .text(row.node))
        guard row.state == .active else { return }
        try transaction.publish(.init(peer: row.peer), to: row.peers, in: row.tenant)
    }

    func message(_ row: NodeRow, at now: Int64) -> CoordinatorAPI.Node {
        var presence: Presence?
        if let tenant = Name(row.tenant), let node = VerifyingKey(base64URL: row.node) {
            presence = presences[.init(tenant: tenant, node: node)]
        }
        // Of a stream to another replica only the traces in the database are known.
        let isFresh = row.lastSeenAt.map { now - $0 < 2 * ServiceLimits.lastSeenSeconds } ?? false
        return row.message(
            presence, isConnected: presence?.isConnected ?? (storage.isShared && isFresh))
    }

    /// Verifies a grant that an admin signed, and hands it to `body` in a transaction.
    private func withGrant(
        _ text: String, in tenant: Name, by principal: Principal,
        _ body: @escaping @Sendable (VerifiedGrant, StatementChain, Transaction) throws -> NodeRow
    ) async throws -> NodeRow {
        let now = now()
        return try await withTrust(of: tenant) { trust in
            let (verified, chain) = try refusing { () throws(Refusal) in
                let chain = try StatementChain(parsing: text)
                return (try trust.verifier.verifyGrant(chain, at: now), chain)
            }
            guard verified.tenant == tenant else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.mixedTenant, "a grant for \(verified.tenant) in tenant \(tenant)"))
            }
            guard verified.token == nil, verified.rotation == nil else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.wrongType, "an admin key and a grant are wanted, nothing else"))
            }
            return try await write(as: principal.actor) { transaction in
                try trust.confirm(transaction)
                try TenantRow.require(tenant, transaction.connection)
                try Self.requireAdmin(verified.admin, transaction)
                try Self.requireGroups(verified.grant.groups, in: tenant, transaction)
                try AddressTable(tenant, transaction.connection).requireOutside(
                    verified.grant.routes, of: verified.grant.role)
                return try body(verified, chain, transaction)
            }
        }
    }

    /// A new grant is for the same node in the same place, and newer than the one before.
    private static func checkSuccession(
        of old: NodeRow, by verified: VerifiedGrant, _ transaction: Transaction
    ) throws {
        let grant = verified.grant
        switch old.state {
        case .revoked: throw CoordinatorAPI.Problem.nodeRevoked()
        case .left:
            throw CoordinatorAPI.Problem.inUse("the node has left: it must join anew")
        case .pending, .active, .suspended: break
        }
        guard grant.node.base64URL == old.node else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.keyNotAllowed, "a grant of \(grant.node) for \(old.node)"))
        }
        guard grant.role.rawValue == old.role else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.roleOutOfScope, "the node is a \(old.role): it must join anew"))
        }
        guard grant.serial > old.serial else {
            let reason: Refusal.Reason = grant.serial == old.serial ? .serialReused : .superseded
            throw CoordinatorAPI.Problem.refused(
                Refusal(reason, "serial \(grant.serial), the node has \(old.serial)"))
        }
        let own = try AddressTable(verified.tenant, transaction.connection)
            .addresses(of: .node(old.node))
        guard !grant.addresses.isEmpty, grant.addresses.isSubset(of: own) else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.addressOutOfScope, "the node's addresses are \(old.addresses)"))
        }
        // Peers would take the old key again, which a node that rotated has thrown away.
        guard grant.publicKey.base64 == old.publicKey || old.isByHand else {
            throw CoordinatorAPI.Problem.inUse(
                "the node uses another WireGuard key by now: repeat this, for its newest chain")
        }
    }
}
