import ControlModel
import Cryptography
import PacketFormats

/// What happens to nodes, with all that follows from it.
struct NodeTable {
    let transaction: Transaction

    init(_ transaction: Transaction) { self.transaction = transaction }

    /// Hashes by which a node that enrolled itself is known again.
    struct Secrets {
        var enrolment: [UInt8]
        var secret: [UInt8]
    }

    /// Adds a node that is new in every respect; its addresses are its own already.
    ///
    /// - Throws: `already_exists`, and the refusals `mixedTenant` and `keyInUse`.
    func add(_ row: NodeRow, _ verified: VerifiedGrant, _ secrets: Secrets?) throws {
        try checkNode(of: verified.grant)
        try claimKeys(of: verified)
        try insert(row, secrets)
        try setGroups(of: row)
        try transaction.execute(
            "UPDATE tenants SET node_count = node_count + 1 WHERE name = ?", .text(row.tenant))
        if row.state == .active {
            try transaction.publish(.init(peer: row.peer), to: row.peers, in: row.tenant)
        }
    }

    /// Replaces a node's grant by a later one, and tells it and its peers.
    func replaceGrant(of old: NodeRow, by new: NodeRow, _ verified: VerifiedGrant) throws {
        try claimKeys(of: verified)
        try transaction.execute(
            """
            UPDATE nodes SET state = ?, addresses = ?, routes = ?, groups_text = ?, profile = ?,
                ceiling = ?, public_key = ?, serial = ?, turn = ?, valid_until = ?, chain = ?,
                admin = ?, token = ?, needs_approval = ?, revision = revision + 1
                WHERE tenant = ? AND node = ?
            """, .text(new.state.rawValue), .text(new.addresses), .text(new.routes),
            .text(new.groups), .text(new.profile), .text(new.ceiling), .text(new.publicKey),
            .integer(new.serial), .integer(new.turn), .integer(new.validUntil), .text(new.chain),
            .text(new.admin), .text(orNull: new.token), .flag(new.needsApproval),
            .text(old.tenant), .text(old.node))
        if old.groups != new.groups {
            try clearGroups(of: old)
            try setGroups(of: new)
        }
        if let key = VerifyingKey(base64URL: new.node), old.chain != new.chain {
            try transaction.publish(.init(own: new.chain), to: .node(key), in: new.tenant)
            if old.state != .active { try tellPeers(to: key, new) }
        }
        try transaction.publish(.init(peer: new.peer), to: new.peers, in: new.tenant)
    }

    /// Changes what a node is by what was revoked, or by its own leaving.
    func setState(of row: NodeRow, to state: CoordinatorAPI.NodeState) throws {
        guard state != row.state else { return }
        try transaction.execute(
            "UPDATE nodes SET state = ?, revision = revision + 1 WHERE tenant = ? AND node = ?",
            .text(state.rawValue), .text(row.tenant), .text(row.node))
        if state == .active {
            try transaction.publish(.init(peer: row.peer), to: row.peers, in: row.tenant)
            if let key = VerifyingKey(base64URL: row.node) {
                // Its stream waits for this: of very many peers it then gets a full state.
                try transaction.publish(.init(own: row.chain), to: .node(key), in: row.tenant)
                try tellPeers(to: key, row)
            }
        } else if row.state == .active {
            try transaction.publish(.init(peerRemoved: row.node), to: row.peers, in: row.tenant)
        }
        guard state == .revoked || state == .left else { return }
        try transaction.execute(
            "UPDATE tenants SET node_count = node_count - 1 WHERE name = ?", .text(row.tenant))
        try clearGroups(of: row)
        if let tenant = Name(row.tenant) {
            try AddressTable(tenant, transaction.connection).release(.node(row.node))
        }
    }

    /// Lets `node` alone use its WireGuard keys, for as long as the grant may count.
    ///
    /// - Throws: The refusal `keyInUse`.
    func claimKeys(of verified: VerifiedGrant) throws {
        let node = verified.node.base64URL, until = verified.grant.validity.until
        for key in Set([verified.grant.publicKey, verified.publicKey]) {
            let owner = try transaction.rows(
                "SELECT node, used_until FROM public_keys WHERE public_key = ?",
                .text(key.base64)
            ).first
            if let owner, try owner.text(0) != node,
                try owner.integer(1) > transaction.now - TrustLimits.skewSecondsMax {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.keyInUse, "the WireGuard key \(key) is of another node"))
            }
            try transaction.execute(
                """
                INSERT INTO public_keys (public_key, node, used_until) VALUES (?, ?, ?)
                    ON CONFLICT (public_key) DO UPDATE
                    SET node = excluded.node, used_until = excluded.used_until
                """, .text(key.base64), .text(node),
                .integer(max(until, try owner?.text(0) == node ? try owner?.integer(1) ?? 0 : 0)))
        }
    }

    /// A node is of one tenant, unless it is a gateway, which may serve several.
    private func checkNode(of grant: Grant) throws {
        let others = try transaction.rows(
            "SELECT tenant, role FROM nodes WHERE node = ?", .text(grant.node.base64URL))
        for other in others {
            guard try other.text(0) != grant.tenant.text else {
                throw CoordinatorAPI.Problem.alreadyExists(
                    "node \(grant.node) is in tenant \(grant.tenant) already: join with new keys")
            }
            guard grant.role == .gateway, try other.text(1) == Role.gateway.rawValue else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.mixedTenant, "node \(grant.node) is of another tenant"))
            }
        }
    }

    private func insert(_ row: NodeRow, _ secrets: Secrets?) throws {
        try transaction.execute(
            """
            INSERT INTO nodes (\(NodeRow.columns), enrolment_hash, secret_hash)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
                ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, .text(row.tenant), .text(row.node), .text(row.name), .text(row.role),
            .text(row.state.rawValue), .text(row.addresses), .text(row.routes),
            .text(row.groups), .text(row.profile), .text(row.ceiling), .text(row.publicKey),
            .text(orNull: row.endpoint), .flag(row.isEndpointFixed), .integer(row.serial),
            .integer(row.turn), .integer(row.validUntil), .text(row.chain), .text(row.admin),
            .text(orNull: row.token), .flag(row.needsApproval), .flag(row.isByHand),
            .integer(orNull: row.lastSeenAt), .integer(orNull: row.appliedNumber),
            .text(orNull: row.agentVersion), .integer(row.joinedAt), .integer(row.revision),
            .integer(orNull: row.tenantRevocations), .integer(orNull: row.organisationRevocations),
            .text(orNull: row.refusals), .integer(orNull: row.priority),
            .integer(orNull: row.weight), .text(orNull: row.health),
            secrets.map { .bytes($0.enrolment) } ?? .null,
            secrets.map { .bytes($0.secret) } ?? .null)
    }

    private func setGroups(of row: NodeRow) throws {
        for group in Texts.split(row.groups) {
            try transaction.execute(
                "INSERT INTO node_groups (tenant, name, node) VALUES (?, ?, ?)",
                .text(row.tenant), .text(group), .text(row.node))
        }
    }

    private func clearGroups(of row: NodeRow) throws {
        try transaction.execute(
            "DELETE FROM node_groups WHERE tenant = ? AND node = ?", .text(row.tenant),
            .text(row.node))
    }

    /// A node that becomes active gets its peers one by one; of very many it hears with the full
    /// state that its next stream begins with.
    private func tellPeers(to key: VerifyingKey, _ row: NodeRow) throws {
        let peers = try Self.peers(
            of: row.role, in: row.tenant, limit: Int64(ServiceLimits.peersToldMax) + 1,
            transaction.connection)
        guard peers.count <= ServiceLimits.peersToldMax else { return }
        for peer in peers {
            try transaction.publish(.init(peer: peer), to: .node(key), in: row.tenant)
        }
    }

    /// For a gateway all active nodes of the tenant that are none; for others its active gateways.
    static func peers(
        of role: String, in tenant: String, limit: Int64, _ connection: any StorageConnection
    ) throws -> [CoordinatorAPI.Peer] {
        let isGateway = role == Role.gateway.rawValue
        let rows = try connection.rows(
            """
            SELECT node, name, chain, endpoint, priority, weight, health FROM nodes
                WHERE tenant = ? AND state = 'active' AND role \(isGateway ? "<>" : "=") 'gateway'
                LIMIT ?
            """, [.text(tenant), .integer(limit)])
        // Sorted here: asked to, SQLite goes through all nodes of the tenant in order of their keys
        // rather than find the few gateways by their role.
        let peers = try rows.map { row in
            CoordinatorAPI.Peer(
                node: try row.text(0), name: try row.text(1), chain: try row.text(2),
                endpoint: try row.textOrNil(3), priority: try row.integerOrNil(4),
                weight: try row.integerOrNil(5),
                health: try row.textOrNil(6).map(Texts.split))
        }
        return peers.sorted { $0.node < $1.node }
    }
}
