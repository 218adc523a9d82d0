public import ControlModel
import Cryptography
import PacketFormats

extension CoordinatorService {
    /// Registers an enrolment token; the very same one again changes nothing.
    public func addToken(
        _ tenant: Name, _ request: CoordinatorAPI.EnrolmentTokenRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.EnrolmentTokenRecord {
        try principal.check(.changeTenant, in: tenant)
        let note = try Texts.optionalLabel(
            request.note, "note", bytesMax: ServiceLimits.noteBytesMax)
        let now = now()
        return try await withTrust(of: tenant) { trust in
            let chain = try refusing { () throws(Refusal) in
                try StatementChain(parsing: request.chain)
            }
            let (token, admin) = try refusing { () throws(Refusal) in
                (
                    try trust.verifier.verifyToken(chain, at: now),
                    try trust.verifier.verifyAdmin(StatementChain([chain.links[0]]), at: now)
                )
            }
            guard token.tenant == tenant else {
                throw CoordinatorAPI.Problem.refused(
                    Refusal(.mixedTenant, "a token of \(token.tenant) for tenant \(tenant)"))
            }
            return try await write(as: principal.actor) { transaction in
                try trust.confirm(transaction)
                try TenantRow.require(tenant, transaction.connection)
                try Self.requireAdmin(admin, transaction)
                return try Self.add(token, chain, request.reservation, note, transaction)
            }
        }
    }

    public func tokens(
        _ tenant: Name, by principal: Principal, after: String?, limit: Int
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.EnrolmentTokenRecord> {
        try principal.check(.readTenant, in: tenant)
        let now = now()
        return try await Self.page(storage, limit: limit, key: \.id) { connection, count in
            try TenantRow.require(tenant, connection)
            return try connection.rows(
                """
                SELECT \(Self.tokenColumns) FROM tokens WHERE tenant = ? AND id > ?
                    ORDER BY id LIMIT ?
                """, [.text(tenant.text), .text(after ?? ""), .integer(count)]
            ).map { try Self.tokenRecord($0, at: now) }
        }
    }

    /// Withdraws a token that nobody used yet.
    ///
    /// - Throws: `token_used`: then its node is to be revoked.
    public func revokeToken(
        _ tenant: Name, _ id: TokenID, by principal: Principal
    ) async throws {
        try principal.check(.changeTenant, in: tenant)
        try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            let found = try transaction.rows(
                "SELECT state FROM tokens WHERE tenant = ? AND id = ?", .text(tenant.text),
                .text(id.base64URL))
            guard let state = try found.first?.text(0) else {
                throw CoordinatorAPI.Problem.notFound("tenant \(tenant) has no token \(id)")
            }
            switch CoordinatorAPI.EnrolmentTokenRecord.State(rawValue: state) {
            case .unused:
                try Self.endToken(id.base64URL, in: tenant, as: .revoked, transaction)
                try transaction.audit("token.revoke", id.base64URL, in: tenant)
            case .used:
                throw CoordinatorAPI.Problem(
                    .tokenUsed, status: 409,
                    detail: "token \(id) was used: revoke its node instead")
            case .expired, .revoked, nil: break
            }
        }
    }

    private static func add(
        _ token: EnrolmentToken, _ chain: StatementChain, _ reservation: String, _ note: String?,
        _ transaction: Transaction
    ) throws -> CoordinatorAPI.EnrolmentTokenRecord {
        let id = token.id.base64URL, tenant = token.tenant
        let known = try transaction.rows(
            "SELECT \(tokenColumns), chain FROM tokens WHERE id = ?", .text(id))
        if let known = known.first {
            guard try known.text(12) == chain.text else {
                throw CoordinatorAPI.Problem.alreadyExists("there is a token \(id) already")
            }
            return try tokenRecord(known, at: transaction.now)
        }
        let table = AddressTable(tenant, transaction.connection)
        guard try addresses(ofReservation: reservation, in: tenant, transaction) == token.addresses
        else {
            throw CoordinatorAPI.Problem.refused(
                Refusal(.addressOutOfScope, "a token's addresses are exactly those reserved"))
        }
        try requireGroups(token.groups, in: tenant, transaction)
        try table.requireOutside(token.routes, of: token.role)
        try transaction.checkRoom(
            try transaction.tenant(tenant).unusedTokens, ServiceLimits.unusedTokensMax,
            "unused tokens in this tenant")
        try transaction.execute(
            """
            INSERT INTO tokens (id, tenant, chain, chain_hash, role, addresses, routes,
                groups_text, needs_approval, state, note, created_at, expires_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'unused', ?, ?, ?)
            """, .text(id), .text(tenant.text), .text(chain.text),
            .bytes(SHA256.hash(chain.text)), .text(token.role.rawValue),
            .text(Texts.join(token.addresses.map(\.description))),
            .text(Texts.join(token.routes.map(\.description))),
            .text(Texts.join(token.groups.map(\.text))), .flag(token.needsApproval),
            .text(orNull: note), .integer(transaction.now), .integer(token.validity.until))
        for group in token.groups {
            try transaction.execute(
                "INSERT INTO token_groups (tenant, name, token) VALUES (?, ?, ?)",
                .text(tenant.text), .text(group.text), .text(id))
        }
        try table.handOver(from: .reservation(reservation), to: .token(id))
        try transaction.execute("DELETE FROM reservations WHERE id = ?", .text(reservation))
        try transaction.execute(
            "UPDATE tenants SET unused_tokens = unused_tokens + 1 WHERE name = ?",
            .text(tenant.text))
        try transaction.audit(
            "token.add", id, in: tenant,
            [
                "role": token.role.rawValue,
                "addresses": Texts.join(token.addresses.map(\.description)),
                "groups": Texts.join(token.groups.map(\.text)),
                "approval": "\(token.needsApproval)", "until": "\(token.validity.until)",
            ])
        let row = try transaction.rows(
            "SELECT \(tokenColumns) FROM tokens WHERE id = ?", .text(id))
        return try tokenRecord(row[0], at: transaction.now)
    }

    private static let tokenColumns = """
        id, tenant, role, addresses, routes, groups_text, needs_approval, state, note, \
        created_at, expires_at, node
        """

    private static func tokenRecord(
        _ row: SQLRow, at now: Int64
    ) throws -> CoordinatorAPI.EnrolmentTokenRecord {
        var state = CoordinatorAPI.EnrolmentTokenRecord.State(rawValue: try row.text(7)) ?? .used
        if state == .unused, try row.integer(10) <= now { state = .expired }
        return CoordinatorAPI.EnrolmentTokenRecord(
            id: try row.text(0), tenant: try row.text(1), role: try row.text(2),
            addresses: Texts.split(try row.text(3)), routes: Texts.split(try row.text(4)),
            groups: Texts.split(try row.text(5)), needsApproval: try row.integer(6) != 0,
            state: state, note: try row.textOrNil(8), createdAt: try row.integer(9),
            expiresAt: try row.integer(10), node: try row.textOrNil(11))
    }
}
