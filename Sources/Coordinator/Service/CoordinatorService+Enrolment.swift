public import ControlModel
import Cryptography

extension CoordinatorService {
    /// Lets a node in, by its chain alone. The same node may repeat it, where it lost the answer.
    ///
    /// 1. The token is looked up by the whole of its chain: whatever else is not known here.
    /// 2. The chain is verified, before anything is locked.
    /// 3. In one transaction the token is used up, its addresses become the node's, and its peers
    ///    are told.
    public func enrol(
        _ enrolment: CoordinatorAPI.Enrolment
    ) async throws -> CoordinatorAPI.OwnState {
        let request = try EnrolmentRequest(enrolment)
        guard let tenant = try await tenant(of: request) else {
            try await refuse(request)
            throw CoordinatorAPI.Problem.tokenUnknown()
        }
        let now = now()
        let identity = try await withTrust(of: tenant) { trust in
            // A repetition counts as long as the node does, however old its token is.
            if let identity = try await repeated(request, in: tenant) { return identity }
            let verified = try refusing { () throws(Refusal) in
                try trust.verifier.verifyEnrolment(request.chain, at: now)
            }
            return try await write(as: "node:\(verified.node)") { transaction in
                try trust.confirm(transaction)
                try Self.admit(verified, request, transaction)
                return NodeIdentity(
                    tenant: verified.tenant, node: verified.node, role: verified.grant.role,
                    state: verified.token?.needsApproval ?? false ? .pending : .active)
            }
        }
        var own = try await ownState(identity)
        own.network = try await networkState(identity).state
        return own
    }

    private static func admit(
        _ verified: VerifiedGrant, _ request: EnrolmentRequest, _ transaction: Transaction
    ) throws {
        let tenant = verified.tenant, grant = verified.grant
        guard let token = verified.token else { throw CoordinatorAPI.Problem.tokenUnknown() }
        try requireAdmin(verified.admin, transaction)
        try useUp(token, by: verified.node, transaction)
        try transaction.checkRoom(
            try transaction.tenant(tenant).nodeCount, ServiceLimits.nodesMax,
            "nodes in this tenant")
        guard grant.addresses == token.addresses else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.addressOutOfScope, "a node takes exactly the addresses of its token"))
        }
        let secrets = try transaction.rows(
            "SELECT 1 FROM nodes WHERE secret_hash = ?", .bytes(request.secretHash))
        guard secrets.isEmpty else {
            throw CoordinatorAPI.Problem.invalidRequest("make a new secret: this one is in use")
        }
        let node = grant.node.base64URL
        try AddressTable(tenant, transaction.connection).handOver(
            from: .token(token.id.base64URL), to: .node(node))
        // Two machines may call themselves the same; that is no reason to keep one out.
        let name = try NodeNames(tenant, transaction.connection).free(request.name)
        var row = NodeRow(verified, chain: request.chain, name: name, at: transaction.now)
        row.endpoint = request.endpoint
        row.agentVersion = request.agentVersion
        row.lastSeenAt = transaction.now
        try NodeTable(transaction).add(
            row, verified, .init(enrolment: request.hash, secret: request.secretHash))
        try transaction.audit(
            "node.enrol", node, in: tenant,
            [
                "name": row.name, "token": token.id.base64URL, "role": row.role,
                "addresses": row.addresses, "public-key": row.publicKey,
                "state": row.state.rawValue,
            ])
    }

    private static func useUp(
        _ token: EnrolmentToken, by node: VerifyingKey, _ transaction: Transaction
    ) throws {
        let id = token.id.base64URL
        let used = try transaction.rows(
            """
            UPDATE tokens SET state = 'used', node = ? WHERE id = ? AND state = 'unused'
                RETURNING id
            """, .text(node.base64URL), .text(id))
        guard used.isEmpty else {
            try transaction.execute("DELETE FROM token_groups WHERE token = ?", .text(id))
            return try transaction.execute(
                "UPDATE tenants SET unused_tokens = unused_tokens - 1 WHERE name = ?",
                .text(token.tenant.text))
        }
        let state = try transaction.rows("SELECT state FROM tokens WHERE id = ?", .text(id))
        switch try state.first?.text(0) {
        case nil: throw CoordinatorAPI.Problem.tokenUnknown()
        case "used": throw CoordinatorAPI.Problem.tokenUsed()
        case "expired":
            throw CoordinatorAPI.Problem.refused(Refusal(.expired, "token \(token.id)"))
        default:
            throw CoordinatorAPI.Problem.refused(Refusal(.tokenRevoked, "token \(token.id)"))
        }
    }

    /// Whose token it is; `nil` where the token is not known.
    private func tenant(of request: EnrolmentRequest) async throws -> Name? {
        try await storage.read { connection in
            try connection.rows(
                "SELECT tenant FROM tokens WHERE chain_hash = ?", [.bytes(request.tokenHash)]
            ).first.flatMap { Name(try $0.text(0)) }
        }
    }

    /// Says what is wrong with a chain whose token is not known, if anything is.
    private func refuse(_ request: EnrolmentRequest) async throws {
        let verifier = try await trust(of: nil).verifier, now = now()
        _ = try refusing { () throws(Refusal) in
            try verifier.verifyEnrolment(request.chain, at: now)
        }
    }

    /// The node that enrolled with exactly this request before.
    ///
    /// Its chain alone would not do: every gateway of the tenant has it.
    private func repeated(
        _ request: EnrolmentRequest, in tenant: Name
    ) async throws -> NodeIdentity? {
        let row = try await storage.read { connection in
            try connection.rows(
                """
                SELECT \(NodeRow.columns) FROM nodes
                    WHERE tenant = ? AND secret_hash = ? AND enrolment_hash = ?
                """, [.text(tenant.text), .bytes(request.secretHash), .bytes(request.hash)]
            ).first.map(NodeRow.init)
        }
        return try row.flatMap { try NodeIdentity($0) }
    }
}

/// An enrolment, checked as far as it can be without a database.
private struct EnrolmentRequest: Sendable {
    let chain: StatementChain
    /// Of the whole chain, and of its admin and token.
    let hash: [UInt8]
    let tokenHash: [UInt8]
    let secretHash: [UInt8]
    let name: String
    let endpoint: String?
    let agentVersion: String?

    init(_ enrolment: CoordinatorAPI.Enrolment) throws {
        chain = try refusing { () throws(Refusal) in
            try StatementChain(parsing: enrolment.chain)
        }
        guard chain.links.count == Self.linkCount else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.wrongType, "an enrolment is an admin key, a token and a grant"))
        }
        hash = SHA256.hash(chain.text)
        tokenHash = SHA256.hash(StatementChain(Array(chain.links.dropLast())).text)
        guard let secret = Base64URL.decode(enrolment.secretHash), secret.count == SHA256.count
        else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "secret_hash is 32 bytes of base64url: 43 characters")
        }
        secretHash = secret
        name = try Texts.nodeName(enrolment.name)
        endpoint = try enrolment.endpoint.map(Texts.endpoint)
        agentVersion = try Texts.optionalLabel(enrolment.agentVersion, "agent's version")
    }

    private static let linkCount = 3
}

extension NodeIdentity {
    /// - Throws: `node_revoked`, `unauthenticated` for one that left.
    init(_ row: NodeRow) throws {
        switch row.state {
        case .revoked: throw CoordinatorAPI.Problem.nodeRevoked()
        case .left:
            throw CoordinatorAPI.Problem.unauthenticated("this node has left: it must join anew")
        case .pending, .active, .suspended: break
        }
        guard let tenant = Name(row.tenant), let node = VerifyingKey(base64URL: row.node),
            let role = Role(rawValue: row.role)
        else { throw CoordinatorAPI.Problem.internal("a node's row cannot be read") }
        self.init(tenant: tenant, node: node, role: role, state: row.state)
    }
}
