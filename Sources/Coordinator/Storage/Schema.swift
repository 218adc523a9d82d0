import ControlModel

/// The tables, and how a database of an older program gets to them.
///
/// Each version is a list of statements that runs once, in one transaction with the note that it
/// ran. `{text}` sorts by bytes, and `{bytes}` is the databases' word for byte strings.
enum Schema {
    /// - Throws: `storage_unavailable` where a newer program made the tables.
    static func migrate(_ storage: any Storage) async throws {
        let dialect = storage.dialect
        let found = try await storage.write { connection in
            try connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)", [])
            var version = try connection.rows(
                "SELECT COALESCE(MAX(version), 0) FROM schema_versions", [])[0].integer(0)
            while version < versions.count {
                for statement in versions[Int(version)] {
                    try connection.execute(spell(statement, dialect), [])
                }
                version += 1
                try connection.execute(
                    "INSERT INTO schema_versions (version) VALUES (?)", [.integer(version)])
            }
            return version
        }
        guard found == versions.count else {
            throw CoordinatorAPI.Problem.storageUnavailable(
                "the database has schema \(found), this program knows \(versions.count): start "
                    + "the newer program that wrote it")
        }
    }

    static func spell(_ statement: String, _ dialect: SQLDialect) -> String {
        switch dialect {
        case .sqlite:
            statement.replacing("{text}", with: "TEXT").replacing("{bytes}", with: "BLOB")
        case .postgreSQL:
            statement.replacing("{text}", with: "TEXT COLLATE \"C\"")
                .replacing("{bytes}", with: "BYTEA")
        }
    }

    /// Never changed once released; a new version is added behind them.
    static let versions: [[String]] = [
        organisation + tenants + nodes + logs, reports, gateways,
    ]

    private static let organisation = [
        """
        CREATE TABLE organisation (
            id BIGINT PRIMARY KEY CHECK (id = 1), root {text} NOT NULL,
            trust_revision BIGINT NOT NULL, created_at BIGINT NOT NULL)
        """,
        "CREATE TABLE rollovers (position BIGINT PRIMARY KEY, statement {text} NOT NULL)",
        """
        CREATE TABLE anchors (
            position BIGINT PRIMARY KEY, key {text} NOT NULL, successor {text},
            retires_at BIGINT)
        """,
        """
        CREATE TABLE admins (
            key {text} PRIMARY KEY, statement {text} NOT NULL, tenants {text},
            roles {text} NOT NULL, may_revoke BIGINT NOT NULL, valid_from BIGINT NOT NULL,
            valid_until BIGINT NOT NULL)
        """,
        // The organisation's has an empty realm; those of deleted tenants stay.
        """
        CREATE TABLE revocation_lists (
            realm {text} PRIMARY KEY, chain {text} NOT NULL, number BIGINT NOT NULL,
            accepted_at_milliseconds BIGINT NOT NULL)
        """,
    ]

    private static let tenants = [
        """
        CREATE TABLE tenants (
            name {text} PRIMARY KEY, created_at BIGINT NOT NULL, revision BIGINT NOT NULL,
            node_count BIGINT NOT NULL, unused_tokens BIGINT NOT NULL,
            change_number BIGINT NOT NULL, gateway_number BIGINT NOT NULL,
            policy {text}, policy_revision BIGINT NOT NULL,
            qos {text}, qos_revision BIGINT NOT NULL)
        """,
        // A tenant that is made again goes on counting.
        "CREATE TABLE former_tenants (name {text} PRIMARY KEY, change_number BIGINT NOT NULL)",
        """
        CREATE TABLE api_tokens (
            id {text} PRIMARY KEY, hash {bytes} NOT NULL UNIQUE, name {text} NOT NULL,
            role {text} NOT NULL, tenant {text} REFERENCES tenants (name) ON DELETE CASCADE,
            created_at BIGINT NOT NULL, expires_at BIGINT, last_used_at BIGINT)
        """,
        """
        CREATE TABLE pools (
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            prefix {text} NOT NULL, next_key {text} NOT NULL, allocated BIGINT NOT NULL,
            PRIMARY KEY (tenant, prefix))
        """,
        // An owner is a reservation, a token or a node: its kind, a colon and its name.
        """
        CREATE TABLE addresses (
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            sort_key {text} NOT NULL, pool {text} NOT NULL, owner {text} NOT NULL,
            PRIMARY KEY (tenant, sort_key))
        """,
        "CREATE INDEX addresses_of_owner ON addresses (tenant, owner)",
        """
        CREATE TABLE reservations (
            id {text} PRIMARY KEY,
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            expires_at BIGINT NOT NULL)
        """,
        "CREATE INDEX reservations_of_tenant ON reservations (tenant)",
        "CREATE INDEX reservations_by_end ON reservations (expires_at)",
        """
        CREATE TABLE group_names (
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            name {text} NOT NULL, description {text}, PRIMARY KEY (tenant, name))
        """,
        """
        CREATE TABLE tokens (
            id {text} PRIMARY KEY,
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            chain {text} NOT NULL, chain_hash {bytes} NOT NULL UNIQUE, role {text} NOT NULL,
            addresses {text} NOT NULL, routes {text} NOT NULL, groups_text {text} NOT NULL,
            needs_approval BIGINT NOT NULL, state {text} NOT NULL, note {text},
            created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, node {text})
        """,
        "CREATE INDEX tokens_of_tenant ON tokens (tenant, id)",
        "CREATE INDEX tokens_by_end ON tokens (state, expires_at)",
        """
        CREATE TABLE token_groups (
            tenant {text} NOT NULL, name {text} NOT NULL,
            token {text} NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
            PRIMARY KEY (tenant, name, token),
            FOREIGN KEY (tenant, name) REFERENCES group_names (tenant, name))
        """,
        "CREATE INDEX token_groups_of_token ON token_groups (token)",
    ]

    private static let nodes = [
        """
        CREATE TABLE nodes (
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            node {text} NOT NULL, name {text} NOT NULL, role {text} NOT NULL,
            state {text} NOT NULL, addresses {text} NOT NULL, routes {text} NOT NULL,
            groups_text {text} NOT NULL, profile {text} NOT NULL, ceiling {text} NOT NULL,
            public_key {text} NOT NULL, endpoint {text}, is_endpoint_fixed BIGINT NOT NULL,
            serial BIGINT NOT NULL, turn BIGINT NOT NULL, valid_until BIGINT NOT NULL,
            chain {text} NOT NULL, admin {text} NOT NULL, token {text},
            needs_approval BIGINT NOT NULL, enrolment_hash {bytes}, secret_hash {bytes} UNIQUE,
            is_by_hand BIGINT NOT NULL, last_seen_at BIGINT, applied_number BIGINT,
            agent_version {text}, joined_at BIGINT NOT NULL, revision BIGINT NOT NULL,
            PRIMARY KEY (tenant, node))
        """,
        "CREATE INDEX nodes_by_key ON nodes (node)",
        "CREATE INDEX nodes_by_role ON nodes (tenant, role, state)",
        "CREATE INDEX nodes_by_token ON nodes (token)",
        "CREATE INDEX nodes_by_admin ON nodes (admin)",
        "CREATE INDEX nodes_by_public_key ON nodes (public_key)",
        """
        CREATE TABLE node_groups (
            tenant {text} NOT NULL, name {text} NOT NULL, node {text} NOT NULL,
            PRIMARY KEY (tenant, name, node),
            FOREIGN KEY (tenant, node) REFERENCES nodes (tenant, node) ON DELETE CASCADE,
            FOREIGN KEY (tenant, name) REFERENCES group_names (tenant, name))
        """,
        "CREATE INDEX node_groups_of_node ON node_groups (tenant, node)",
        // Who may use a WireGuard key, for as long as a grant for it may count.
        """
        CREATE TABLE public_keys (
            public_key {text} PRIMARY KEY, node {text} NOT NULL, used_until BIGINT NOT NULL)
        """,
        "CREATE INDEX public_keys_by_end ON public_keys (used_until)",
    ]

    private static let logs = [
        """
        CREATE TABLE changes (
            tenant {text} NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
            number BIGINT NOT NULL, audience {text} NOT NULL, payload {bytes} NOT NULL,
            PRIMARY KEY (tenant, number))
        """,
        """
        CREATE TABLE audit_entries (
            number BIGINT PRIMARY KEY, at_second BIGINT NOT NULL, actor {text} NOT NULL,
            action {text} NOT NULL, tenant {text}, subject {text} NOT NULL,
            details {text} NOT NULL, previous {text} NOT NULL, hash {text} NOT NULL)
        """,
        "CREATE INDEX audit_entries_of_tenant ON audit_entries (tenant, number)",
    ]

    /// What nodes said in their newest report, and who has a name.
    private static let reports = [
        "ALTER TABLE nodes ADD COLUMN tenant_revocations BIGINT",
        "ALTER TABLE nodes ADD COLUMN organisation_revocations BIGINT",
        "ALTER TABLE nodes ADD COLUMN refusals {text}",
        "CREATE INDEX nodes_by_name ON nodes (tenant, name)",
    ]

    /// Which gateway others prefer.
    private static let gateways = [
        "ALTER TABLE nodes ADD COLUMN priority BIGINT",
        "ALTER TABLE nodes ADD COLUMN weight BIGINT",
        "ALTER TABLE nodes ADD COLUMN health {text}",
    ]
}
