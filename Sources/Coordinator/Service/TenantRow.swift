import ControlModel

/// One row of `tenants`.
struct TenantRow {
    var name: Name
    var createdAt: Int64
    var revision: Int64
    var nodeCount: Int64
    var unusedTokens: Int64
    var changeNumber: Int64
    var gatewayNumber: Int64
    var policy: String?
    var policyRevision: Int64
    var qos: String?
    var qosRevision: Int64

    static let columns = """
        name, created_at, revision, node_count, unused_tokens, change_number, gateway_number, \
        policy, policy_revision, qos, qos_revision
        """

    init(_ row: SQLRow) throws {
        guard let name = Name(try row.text(0)) else {
            throw CoordinatorAPI.Problem.internal("a tenant has no name")
        }
        self.name = name
        createdAt = try row.integer(1)
        revision = try row.integer(2)
        nodeCount = try row.integer(3)
        unusedTokens = try row.integer(4)
        changeNumber = try row.integer(5)
        gatewayNumber = try row.integer(6)
        policy = try row.textOrNil(7)
        policyRevision = try row.integer(8)
        qos = try row.textOrNil(9)
        qosRevision = try row.integer(10)
    }

    /// - Throws: `not_found`.
    static func find(_ name: Name, _ connection: any StorageConnection) throws -> TenantRow {
        let rows = try connection.rows(
            "SELECT \(columns) FROM tenants WHERE name = ?", [.text(name.text)])
        guard let row = rows.first else {
            throw CoordinatorAPI.Problem.notFound("there is no tenant \(name)")
        }
        return try TenantRow(row)
    }

    /// - Throws: `not_found`.
    static func require(_ name: Name, _ connection: any StorageConnection) throws {
        let rows = try connection.rows(
            "SELECT 1 FROM tenants WHERE name = ?", [.text(name.text)])
        guard !rows.isEmpty else {
            throw CoordinatorAPI.Problem.notFound("there is no tenant \(name)")
        }
    }

    func message(_ connection: any StorageConnection) throws -> CoordinatorAPI.Tenant {
        let pools = try connection.rows(
            "SELECT prefix, allocated FROM pools WHERE tenant = ? ORDER BY prefix",
            [.text(name.text)])
        return CoordinatorAPI.Tenant(
            name: name.text,
            pools: try pools.map { row in
                CoordinatorAPI.Pool(
                    prefix: try row.text(0), allocated: try row.integer(1),
                    capacity: try AddressTable.pool(try row.text(0)).capacity)
            },
            nodeCount: Int(nodeCount), createdAt: createdAt, revision: revision)
    }
}
