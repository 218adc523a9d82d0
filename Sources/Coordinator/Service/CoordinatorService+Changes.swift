public import ControlModel

/// What watch streams are made of.
extension CoordinatorService {
    /// Everything that a node has to know, with the newest number of its tenant at that moment.
    ///
    /// A node that is pending or suspended learns of no peers. When it becomes active, its stream
    /// gets its chain as `own`, and its peers behind it; of more than 256 peers it hears only in a
    /// full state, so whoever sends `own` to a node may send it a state as well.
    public func networkState(
        _ identity: NodeIdentity
    ) async throws -> (state: CoordinatorAPI.NetworkState, number: Int64) {
        try await storage.read { connection in
            let tenant = try TenantRow.find(identity.tenant, connection)
            let row = try NodeRow.require(identity.tenant, identity.node, connection)
            let peers = row.state == .active
                ? try NodeTable.peers(of: row.role, in: row.tenant, limit: .max, connection) : []
            let state = CoordinatorAPI.NetworkState(
                own: row.chain, name: row.name, rollovers: try Self.rollovers(connection),
                organisationRevocations: try RevocationTable.chain("", connection),
                tenantRevocations: try RevocationTable.chain(row.tenant, connection),
                peers: peers, policy: try tenant.policy.map { try JSONText.decode($0) },
                qos: try tenant.qos.map { try JSONText.decode($0) })
            return (state, tenant.changeNumber)
        }
    }

    /// - Parameter after: A number; what follows it is listed, in order and without gaps.
    public func changes(
        _ tenant: Name, after: Int64, limit: Int
    ) async throws -> [StoredChange] {
        try await storage.read { connection in
            try connection.rows(
                """
                SELECT number, audience, payload FROM changes WHERE tenant = ? AND number > ?
                    ORDER BY number LIMIT ?
                """,
                [.text(tenant.text), .integer(after), .integer(Int64(max(limit, 1)))]
            ).map { row in
                guard let audience = StoredChange.Audience(text: try row.text(1)) else {
                    throw CoordinatorAPI.Problem.internal("a change has no audience")
                }
                return StoredChange(
                    number: try row.integer(0), audience: audience, payload: try row.bytes(2))
            }
        }
    }

    /// - Returns: 0 before the first change.
    public func newestNumber(_ tenant: Name) async throws -> Int64 {
        try await storage.read { try TenantRow.find(tenant, $0).changeNumber }
    }

    /// The first number that is still kept: who has seen the one before it can resume. One more
    /// than the newest where none is kept.
    public func oldestNumber(_ tenant: Name) async throws -> Int64 {
        try await storage.read { connection in
            let newest = try TenantRow.find(tenant, connection).changeNumber
            let oldest = try connection.rows(
                "SELECT MIN(number) FROM changes WHERE tenant = ?", [.text(tenant.text)])
            return try oldest.first?.integerOrNil(0) ?? newest + 1
        }
    }

    public func statistics() async throws -> CoordinatorStatistics {
        var statistics = try await storage.read { connection in
            var statistics = CoordinatorStatistics()
            statistics.tenants = Int(
                try connection.rows("SELECT COUNT(*) FROM tenants", [])[0].integer(0))
            for row in try connection.rows("SELECT state, COUNT(*) FROM nodes GROUP BY state", [])
            {
                guard let state = CoordinatorAPI.NodeState(rawValue: try row.text(0)) else {
                    continue
                }
                statistics.nodes[state] = Int(try row.integer(1))
            }
            statistics.unusedTokens = Int(
                try connection.rows("SELECT COUNT(*) FROM tokens WHERE state = 'unused'", [])[0]
                    .integer(0))
            statistics.auditEntries = try connection.rows(
                "SELECT COALESCE(MAX(number), 0) FROM audit_entries", [])[0].integer(0)
            return statistics
        }
        presences.fill(&statistics)
        return statistics
    }
}
