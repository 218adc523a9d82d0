import ControlModel
import Cryptography
import PacketFormats

/// One row of `nodes`.
struct NodeRow: Sendable {
    var tenant: String
    var node: String
    var name: String
    var role: String
    var state: CoordinatorAPI.NodeState
    var addresses: String
    var routes: String
    var groups: String
    var profile: String
    var ceiling: String
    var publicKey: String
    var endpoint: String?
    var isEndpointFixed: Bool
    var serial: Int64
    var turn: Int64
    var validUntil: Int64
    var chain: String
    /// Who signed the grant, or the token under which it was signed.
    var admin: String
    var token: String?
    /// Whether the grant is a request only.
    var needsApproval: Bool
    var isByHand: Bool
    var lastSeenAt: Int64?
    var appliedNumber: Int64?
    var agentVersion: String?
    var joinedAt: Int64
    var revision: Int64
    /// Of the newest report that was written.
    var tenantRevocations: Int64?
    var organisationRevocations: Int64?
    var refusals: String?
    /// Of a gateway, where an admin has said so.
    var priority: Int64?
    var weight: Int64?
    var health: String?

    static let columns = """
        tenant, node, name, role, state, addresses, routes, groups_text, profile, ceiling, \
        public_key, endpoint, is_endpoint_fixed, serial, turn, valid_until, chain, admin, token, \
        needs_approval, is_by_hand, last_seen_at, applied_number, agent_version, joined_at, \
        revision, tenant_revocations, organisation_revocations, refusals, \
        priority, weight, health
        """

    init(_ row: SQLRow) throws {
        tenant = try row.text(0)
        node = try row.text(1)
        name = try row.text(2)
        role = try row.text(3)
        guard let state = CoordinatorAPI.NodeState(rawValue: try row.text(4)) else {
            throw CoordinatorAPI.Problem.internal("a node has no state")
        }
        self.state = state
        addresses = try row.text(5)
        routes = try row.text(6)
        groups = try row.text(7)
        profile = try row.text(8)
        ceiling = try row.text(9)
        publicKey = try row.text(10)
        endpoint = try row.textOrNil(11)
        isEndpointFixed = try row.integer(12) != 0
        serial = try row.integer(13)
        turn = try row.integer(14)
        validUntil = try row.integer(15)
        chain = try row.text(16)
        admin = try row.text(17)
        token = try row.textOrNil(18)
        needsApproval = try row.integer(19) != 0
        isByHand = try row.integer(20) != 0
        lastSeenAt = try row.integerOrNil(21)
        appliedNumber = try row.integerOrNil(22)
        agentVersion = try row.textOrNil(23)
        joinedAt = try row.integer(24)
        revision = try row.integer(25)
        tenantRevocations = try row.integerOrNil(26)
        organisationRevocations = try row.integerOrNil(27)
        refusals = try row.textOrNil(28)
        priority = try row.integerOrNil(29)
        weight = try row.integerOrNil(30)
        health = try row.textOrNil(31)
    }

    /// What the verified chain says of the node.
    init(_ verified: VerifiedGrant, chain: StatementChain, name: String, at now: Int64) {
        let grant = verified.grant
        tenant = grant.tenant.text
        node = grant.node.base64URL
        self.name = name
        role = grant.role.rawValue
        needsApproval = verified.token?.needsApproval ?? false
        state = needsApproval ? .pending : .active
        addresses = Texts.join(grant.addresses.map(\.description))
        routes = Texts.join(grant.routes.map(\.description))
        groups = Texts.join(grant.groups.map(\.text))
        profile = grant.profile.rawValue
        ceiling = grant.ceiling.rawValue
        publicKey = verified.publicKey.base64
        isEndpointFixed = false
        serial = grant.serial
        turn = verified.rotation?.turn ?? 0
        validUntil = verified.validUntil
        self.chain = chain.text
        admin = verified.admin.key.base64URL
        token = verified.token?.id.base64URL
        isByHand = false
        joinedAt = now
        revision = 1
    }

    static func find(
        _ tenant: Name, _ node: VerifyingKey, _ connection: any StorageConnection
    ) throws -> NodeRow? {
        try connection.rows(
            "SELECT \(columns) FROM nodes WHERE tenant = ? AND node = ?",
            [.text(tenant.text), .text(node.base64URL)]
        ).first.map(NodeRow.init)
    }

    /// - Throws: `not_found`.
    static func require(
        _ tenant: Name, _ node: VerifyingKey, _ connection: any StorageConnection
    ) throws -> NodeRow {
        guard let row = try find(tenant, node, connection) else {
            throw CoordinatorAPI.Problem.notFound("there is no node \(node) in tenant \(tenant)")
        }
        return row
    }

    var peer: CoordinatorAPI.Peer {
        CoordinatorAPI.Peer(
            node: node, name: name, chain: chain, endpoint: endpoint, priority: priority,
            weight: weight, health: health.map(Texts.split))
    }

    /// Whom it concerns that this node comes, goes or changes.
    var peers: StoredChange.Audience { .peers(of: role) }

    /// - Parameter presence: What is known in memory, and newer.
    func message(_ presence: Presence?, isConnected: Bool) -> CoordinatorAPI.Node {
        let lists = presence.flatMap { $0.hasReported ? $0 : nil }
        let written: [String: Int]? = refusals.flatMap { try? JSONText.decode($0) }
        let refused = lists?.nodeRefusals ?? written ?? [:]
        return CoordinatorAPI.Node(
            node: node, name: name, tenant: tenant, role: role, state: state,
            addresses: Texts.split(addresses), routes: Texts.split(routes),
            groups: Texts.split(groups), profile: profile, ceiling: ceiling, publicKey: publicKey,
            endpoint: endpoint, priority: priority, weight: weight,
            health: health.map(Texts.split), serial: serial, validUntil: validUntil,
            chain: chain, isByHand: isByHand, isConnected: isConnected,
            lastSeenAt: [presence?.lastSeenAt, lastSeenAt].compactMap(\.self).max(),
            appliedNumber: [presence?.appliedNumber, appliedNumber].compactMap(\.self).max(),
            agentVersion: presence?.agentVersion ?? agentVersion,
            refusals: refused.isEmpty ? nil : refused,
            newestRevocations: lists?.tenantRevocations ?? tenantRevocations,
            newestOrganisationRevocations: lists?.organisationRevocations
                ?? organisationRevocations,
            joinedAt: joinedAt, revision: revision)
    }
}
