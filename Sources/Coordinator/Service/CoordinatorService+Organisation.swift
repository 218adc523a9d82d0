public import ControlModel
import Cryptography

extension CoordinatorService {
    /// Makes the organisation, once. The caller removes the set-up code afterwards.
    ///
    /// - Returns: The owner's first API token.
    public func setUp(
        _ setup: CoordinatorAPI.OrganisationSetup
    ) async throws -> CoordinatorAPI.APITokenSecret {
        let isSetUp = try await storage.read { connection in
            try !connection.rows("SELECT 1 FROM organisation", []).isEmpty
        }
        guard !isSetUp else { throw Self.alreadySetUp }
        guard let hash = setupCodeHash(), Texts.isEqual(hash, SHA256.hash(setup.setupCode)) else {
            throw CoordinatorAPI.Problem.unauthenticated(
                "the set-up code is wrong: it stands in the coordinator's state folder, in the "
                    + "file setup-code")
        }
        guard let root = VerifyingKey(base64URL: setup.root) else {
            throw CoordinatorAPI.Problem.invalidRequest("root is no key")
        }
        let name = try Texts.label(setup.tokenName, "token's name")
        let verifier = Verifier(anchors: RootAnchors(root: root)), now = now()
        let admin = try refusing { () throws(Refusal) in
            try verifier.verifyAdmin(StatementChain([setup.admin]), at: now)
        }
        return try await write(as: "setup-code") { transaction in
            guard try transaction.rows("SELECT 1 FROM organisation").isEmpty else {
                throw Self.alreadySetUp
            }
            try transaction.execute(
                """
                INSERT INTO organisation (id, root, trust_revision, created_at)
                    VALUES (1, ?, 1, ?)
                """, .text(root.base64URL), .integer(transaction.now))
            try Self.setAnchors(verifier.anchors, transaction)
            try Self.setAdmin(admin, setup.admin, transaction)
            try transaction.audit(
                "organisation.set-up", root.base64URL, [
                    "admin": admin.key.base64URL
                ])
            return try Self.insertAPIToken(
                name: name, role: .owner, tenant: nil, expiresAt: nil, transaction)
        }
    }

    public func organisation(
        by principal: Principal
    ) async throws -> CoordinatorAPI.Organisation {
        try principal.check(.readOrganisation)
        var organisation = try await storage.read { [trusts] connection in
            try Self.organisation(try trusts.trust(of: nil, connection), connection)
        }
        if let tenant = principal.tenant?.text {
            // Admins of other tenants alone are no business of this one's.
            organisation.admins.removeAll { $0.tenants.map { !$0.contains(tenant) } ?? false }
        }
        return organisation
    }

    /// Registers an admin's key, or its newer statement under the next root.
    public func addAdmin(
        _ statement: CoordinatorAPI.SignedStatement, by principal: Principal
    ) async throws -> CoordinatorAPI.Admin {
        try principal.check(.changeOrganisation)
        let text = statement.statement, now = now()
        return try await withTrust(of: nil) { trust in
            let admin = try refusing { () throws(Refusal) in
                try trust.verifier.verifyAdmin(StatementChain([text]), at: now)
            }
            return try await write(as: principal.actor) { transaction in
                try trust.confirm(transaction)
                let key = admin.key.base64URL
                let known = try transaction.rows(
                    "SELECT statement FROM admins WHERE key = ?", .text(key))
                if try known.first?.text(0) != text {
                    let count = try transaction.rows("SELECT COUNT(*) FROM admins")
                    try transaction.checkRoom(
                        try count[0].integer(0), ServiceLimits.adminsMax, "admins")
                    try Self.setAdmin(admin, text, transaction)
                    try Self.bumpTrust(transaction)
                    try transaction.audit("admin.add", key)
                }
                return try Self.admin(key, trust.verifier, transaction.connection)
            }
        }
    }

    /// Follows the root to its next key, and tells all nodes.
    public func addRollover(
        _ statement: CoordinatorAPI.SignedStatement, by principal: Principal
    ) async throws -> CoordinatorAPI.Organisation {
        try principal.check(.changeOrganisation)
        let text = statement.statement, now = now()
        return try await withTrust(of: nil) { trust in
            let followed = try refusing { () throws(Refusal) in
                var verifier = trust.verifier
                try verifier.follow(text, at: now)
                return verifier.anchors
            }
            return try await write(as: principal.actor) { [trusts] transaction in
                try trust.confirm(transaction)
                if followed != trust.verifier.anchors {
                    try Self.setAnchors(followed, transaction)
                    try transaction.execute(
                        """
                        INSERT INTO rollovers (position, statement)
                            SELECT COALESCE(MAX(position), 0) + 1, ? FROM rollovers
                        """, .text(text))
                    try Self.bumpTrust(transaction)
                    try transaction.publishEverywhere(.init(rollover: text))
                    let next = followed.anchors.last?.key.base64URL ?? ""
                    try transaction.audit("rollover.add", next)
                }
                return try Self.organisation(
                    try trusts.trust(of: nil, transaction.connection), transaction.connection)
            }
        }
    }

    static func bumpTrust(_ transaction: Transaction) throws {
        try transaction.execute("UPDATE organisation SET trust_revision = trust_revision + 1")
    }

    /// - Throws: `statement_refused` for an admin's key that nobody registered here.
    static func requireAdmin(_ admin: AdminKey, _ transaction: Transaction) throws {
        let rows = try transaction.rows(
            "SELECT 1 FROM admins WHERE key = ?", .text(admin.key.base64URL))
        guard !rows.isEmpty else {
            throw CoordinatorAPI.Problem(
                .statementRefused, status: 422,
                detail: "the admin key \(admin.key) is not registered here: add it with "
                    + "branchline admin add")
        }
    }

    private static func setAnchors(_ anchors: RootAnchors, _ transaction: Transaction) throws {
        try transaction.execute("DELETE FROM anchors")
        for (index, anchor) in anchors.anchors.enumerated() {
            try transaction.execute(
                "INSERT INTO anchors (position, key, successor, retires_at) VALUES (?, ?, ?, ?)",
                .integer(Int64(index)), .text(anchor.key.base64URL),
                .text(orNull: anchor.successor?.base64URL), .integer(orNull: anchor.retiresAt))
        }
    }

    private static func setAdmin(
        _ admin: AdminKey, _ statement: String, _ transaction: Transaction
    ) throws {
        var tenants: String?
        if case .only(let names) = admin.tenants { tenants = Texts.join(names.map(\.text)) }
        try transaction.execute(
            """
            INSERT INTO admins
                (key, statement, tenants, roles, may_revoke, valid_from, valid_until)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (key) DO UPDATE SET statement = excluded.statement,
                tenants = excluded.tenants, roles = excluded.roles,
                may_revoke = excluded.may_revoke, valid_from = excluded.valid_from,
                valid_until = excluded.valid_until
            """, .text(admin.key.base64URL), .text(statement), .text(orNull: tenants),
            .text(Texts.join(admin.roles.map(\.rawValue))), .flag(admin.mayRevoke),
            .integer(admin.validity.from), .integer(admin.validity.until))
    }

    private static func organisation(
        _ trust: Trust, _ connection: any StorageConnection
    ) throws -> CoordinatorAPI.Organisation {
        let rows = try connection.rows("SELECT root, created_at FROM organisation", [])
        guard let row = rows.first else { throw CoordinatorAPI.Problem.notSetUp() }
        let keys = try connection.rows("SELECT key FROM admins ORDER BY key", [])
        return CoordinatorAPI.Organisation(
            root: try row.text(0), rollovers: try rollovers(connection),
            admins: try keys.map { try admin(try $0.text(0), trust.verifier, connection) },
            revocations: try RevocationTable.chain("", connection), createdAt: try row.integer(1))
    }

    /// Signed, oldest first.
    static func rollovers(_ connection: any StorageConnection) throws -> [String] {
        try connection.rows("SELECT statement FROM rollovers ORDER BY position", [])
            .map { try $0.text(0) }
    }

    private static func admin(
        _ key: String, _ verifier: Verifier, _ connection: any StorageConnection
    ) throws -> CoordinatorAPI.Admin {
        let rows = try connection.rows(
            """
            SELECT statement, tenants, roles, may_revoke, valid_from, valid_until FROM admins
                WHERE key = ?
            """, [.text(key)])
        guard let row = rows.first else { throw CoordinatorAPI.Problem.notFound("no such admin") }
        let revoked = verifier.revocations.list(of: .organisation)?.entries ?? [:]
        let isRevoked = VerifyingKey(base64URL: key).map { revoked[.admin($0)] != nil } ?? false
        return CoordinatorAPI.Admin(
            key: key, statement: try row.text(0),
            tenants: try row.textOrNil(1).map(Texts.split), roles: Texts.split(try row.text(2)),
            mayRevoke: try row.integer(3) != 0, validFrom: try row.integer(4),
            validUntil: try row.integer(5), isRevoked: isRevoked)
    }

    private static var alreadySetUp: CoordinatorAPI.Problem {
        .alreadyExists("this coordinator has an organisation already")
    }
}
