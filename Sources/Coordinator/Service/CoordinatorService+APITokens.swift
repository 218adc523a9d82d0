public import ControlModel
import Cryptography

extension CoordinatorService {
    /// - Parameter secret: `bla_` and 43 characters.
    /// - Throws: `unauthenticated`.
    public func principal(forAPIToken secret: String) async throws -> Principal {
        let now = now()
        // The database compares hashes: how long that takes says nothing about any secret.
        let hash = try Self.hash(ofSecret: secret, prefix: Self.apiTokenPrefix)
        let found = try await storage.read { connection in
            try connection.rows(
                "SELECT id, role, tenant, expires_at FROM api_tokens WHERE hash = ?",
                [.bytes(hash)]
            ).first
        }
        guard let found, let role = CoordinatorAPI.AccessRole(rawValue: try found.text(1)) else {
            throw CoordinatorAPI.Problem.unauthenticated("this API token is not known")
        }
        if let end = try found.integerOrNil(3), now >= end {
            throw CoordinatorAPI.Problem.unauthenticated("this API token has expired")
        }
        let id = try found.text(0)
        presences.used(id, at: now)
        return Principal(
            actor: "api-token:\(id)", role: role,
            tenant: try found.textOrNil(2).flatMap { Name($0) })
    }

    public func createAPIToken(
        _ request: CoordinatorAPI.APITokenRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.APITokenSecret {
        try principal.check(.changeAPITokens)
        let name = try Texts.label(request.name, "token's name")
        let tenant = try request.tenant.map { try Texts.name($0, "tenant") }
        switch (request.role, tenant) {
        case (.owner, .some):
            throw CoordinatorAPI.Problem.invalidRequest("an owner is of no single tenant")
        case (.securityAdmin, nil):
            throw CoordinatorAPI.Problem.invalidRequest("a security-admin needs a tenant")
        default: break
        }
        if let end = request.expiresAt, end <= now() || end > TrustLimits.timeMax {
            throw CoordinatorAPI.Problem.invalidRequest("expires_at must lie ahead")
        }
        return try await write(as: principal.actor) { transaction in
            if let tenant { try TenantRow.require(tenant, transaction.connection) }
            let count = try transaction.rows("SELECT COUNT(*) FROM api_tokens")
            try transaction.checkRoom(
                try count[0].integer(0), ServiceLimits.apiTokensMax, "API tokens")
            return try Self.insertAPIToken(
                name: name, role: request.role, tenant: tenant, expiresAt: request.expiresAt,
                transaction)
        }
    }

    /// - Parameter after: An id; what follows it is listed.
    public func apiTokens(
        by principal: Principal, after: String?, limit: Int
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.APIToken> {
        try principal.check(.readAPITokens)
        let page = try await Self.page(storage, limit: limit, key: \.id) { connection, count in
            try connection.rows(
                """
                SELECT id, name, role, tenant, created_at, expires_at, last_used_at
                    FROM api_tokens WHERE id > ? ORDER BY id LIMIT ?
                """, [.text(after ?? ""), .integer(count)]
            ).map { row in
                CoordinatorAPI.APIToken(
                    id: try row.text(0), name: try row.text(1),
                    role: CoordinatorAPI.AccessRole(rawValue: try row.text(2)) ?? .observer,
                    tenant: try row.textOrNil(3), createdAt: try row.integer(4),
                    expiresAt: try row.integerOrNil(5), lastUsedAt: try row.integerOrNil(6))
            }
        }
        return CoordinatorAPI.Page(
            items: page.items.map { token in
                var token = token
                token.lastUsedAt = presences.lastUsed(token.id) ?? token.lastUsedAt
                return token
            }, next: page.next)
    }

    public func deleteAPIToken(_ id: String, by principal: Principal) async throws {
        try principal.check(.changeAPITokens)
        try await write(as: principal.actor) { transaction in
            let deleted = try transaction.rows(
                "DELETE FROM api_tokens WHERE id = ? RETURNING name, role", .text(id))
            guard let deleted = deleted.first else {
                throw CoordinatorAPI.Problem.notFound("there is no such API token")
            }
            if try deleted.text(1) == CoordinatorAPI.AccessRole.owner.rawValue {
                try Self.requireLastingOwner(transaction)
            }
            try transaction.audit("api-token.delete", id, ["name": try deleted.text(0)])
        }
    }

    /// Makes an owner API token for whoever can read and write the storage itself, such as one
    /// who lost all others.
    ///
    /// No limit applies: it is what helps where nothing else does.
    public func makeOwnerToken(name: String) async throws -> CoordinatorAPI.APITokenSecret {
        let name = try Texts.label(name, "token's name")
        return try await write(as: Self.ownActor) { transaction in
            guard try !transaction.rows("SELECT 1 FROM organisation").isEmpty else {
                throw CoordinatorAPI.Problem.notSetUp()
            }
            return try Self.insertAPIToken(
                name: name, role: .owner, tenant: nil, expiresAt: nil, transaction)
        }
    }

    /// - Throws: `in_use` where nobody could make API tokens any more, now or one day.
    private static func requireLastingOwner(_ transaction: Transaction) throws {
        let left = try transaction.rows(
            "SELECT 1 FROM api_tokens WHERE role = ? AND expires_at IS NULL LIMIT 1",
            .text(CoordinatorAPI.AccessRole.owner.rawValue))
        guard left.isEmpty else { return }
        throw CoordinatorAPI.Problem.inUse(
            "this is the last owner API token that does not expire; without one nobody could "
                + "change the organisation. Make another first (branchline admin api-token "
                + "create NAME --role owner), then delete this one with it")
    }

    static func insertAPIToken(
        name: String, role: CoordinatorAPI.AccessRole, tenant: Name?, expiresAt: Int64?,
        _ transaction: Transaction
    ) throws -> CoordinatorAPI.APITokenSecret {
        let secret = Texts.secret(apiTokenPrefix)
        let token = CoordinatorAPI.APIToken(
            id: Texts.identifier(), name: name, role: role, tenant: tenant?.text,
            createdAt: transaction.now, expiresAt: expiresAt, lastUsedAt: nil)
        try transaction.execute(
            """
            INSERT INTO api_tokens (id, hash, name, role, tenant, created_at, expires_at)
                VALUES (?, ?, ?, ?, ?, ?, ?)
            """, .text(token.id), .bytes(SHA256.hash(secret)), .text(name),
            .text(role.rawValue), .text(orNull: token.tenant), .integer(token.createdAt),
            .integer(orNull: expiresAt))
        try transaction.audit(
            "api-token.create", token.id, in: tenant, ["name": name, "role": role.rawValue])
        return CoordinatorAPI.APITokenSecret(secret: secret, token: token)
    }

    /// - Throws: `unauthenticated` for what cannot be such a secret.
    static func hash(ofSecret secret: String, prefix: String) throws -> [UInt8] {
        guard secret.utf8.count == prefix.utf8.count + secretCount, secret.hasPrefix(prefix) else {
            throw CoordinatorAPI.Problem.unauthenticated(
                "a bearer token of this kind begins with \(prefix)")
        }
        return SHA256.hash(secret)
    }

    /// Lists at most `limit` items, and asks for one more to see whether there is one.
    static func page<Item>(
        _ storage: any Storage, limit: Int, key: @escaping @Sendable (Item) -> String,
        _ items: @escaping @Sendable (any StorageConnection, Int64) throws -> [Item]
    ) async throws -> CoordinatorAPI.Page<Item> {
        let limit = min(max(limit, 1), ServiceLimits.pageMax)
        let found = try await storage.read { try items($0, Int64(limit + 1)) }
        guard found.count > limit else { return CoordinatorAPI.Page(items: found) }
        let shown = Array(found.prefix(limit))
        return CoordinatorAPI.Page(items: shown, next: shown.last.map(key))
    }

    static let apiTokenPrefix = "bla_"
    static let nodeSecretPrefix = "bln_"
    /// 32 bytes in base64.
    private static let secretCount = 43
}
