public import ControlModel

extension CoordinatorService {
    public func groups(
        _ tenant: Name, by principal: Principal, after: String?, limit: Int
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.Group> {
        try principal.check(.readTenant, in: tenant)
        return try await Self.page(storage, limit: limit, key: \.name) { connection, count in
            try TenantRow.require(tenant, connection)
            return try connection.rows(
                """
                SELECT name, description, (SELECT COUNT(*) FROM node_groups
                    WHERE node_groups.tenant = group_names.tenant
                    AND node_groups.name = group_names.name)
                    FROM group_names WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?
                """, [.text(tenant.text), .text(after ?? ""), .integer(count)]
            ).map { row in
                CoordinatorAPI.Group(
                    name: try row.text(0), description: try row.textOrNil(1),
                    nodeCount: Int(try row.integer(2)))
            }
        }
    }

    public func addGroup(
        _ tenant: Name, _ request: CoordinatorAPI.GroupRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.Group {
        try principal.check(.changeTenant, in: tenant)
        let name = try Texts.name(request.name, "group")
        let description = try Texts.optionalLabel(
            request.description, "description", bytesMax: ServiceLimits.noteBytesMax)
        return try await write(as: principal.actor) { transaction in
            let row = try transaction.tenant(tenant)
            let names = try Self.groupNames(in: tenant, transaction.connection)
            if let text = row.policy,
                try (JSONText.decode(text) as AccessPolicy).serviceNames.contains(name.text)
            {
                throw CoordinatorAPI.Problem.alreadyExists("the policy has a service \(name)")
            }
            guard !names.contains(name.text) else {
                throw CoordinatorAPI.Problem.alreadyExists("there is a group \(name) already")
            }
            try transaction.checkRoom(
                Int64(names.count), ServiceLimits.groupsMax, "groups in this tenant")
            try transaction.execute(
                "INSERT INTO group_names (tenant, name, description) VALUES (?, ?, ?)",
                .text(tenant.text), .text(name.text), .text(orNull: description))
            try transaction.audit("group.add", name.text, in: tenant)
            return CoordinatorAPI.Group(name: name.text, description: description, nodeCount: 0)
        }
    }

    /// - Throws: `in_use` while a node, an unused token or the policy names it.
    public func removeGroup(
        _ tenant: Name, _ group: Name, by principal: Principal
    ) async throws {
        try principal.check(.changeTenant, in: tenant)
        try await write(as: principal.actor) { transaction in
            let row = try transaction.tenant(tenant)
            guard try Self.groupNames(in: tenant, transaction.connection).contains(group.text)
            else {
                throw CoordinatorAPI.Problem.notFound("tenant \(tenant) has no group \(group)")
            }
            let nodes = try transaction.rows(
                "SELECT 1 FROM node_groups WHERE tenant = ? AND name = ? LIMIT 1",
                .text(tenant.text), .text(group.text))
            guard nodes.isEmpty else {
                throw CoordinatorAPI.Problem.inUse(
                    "nodes are in the group \(group): regroup or revoke them first")
            }
            let tokens = try transaction.rows(
                "SELECT 1 FROM token_groups WHERE tenant = ? AND name = ? LIMIT 1",
                .text(tenant.text), .text(group.text))
            guard tokens.isEmpty else {
                throw CoordinatorAPI.Problem.inUse(
                    "unused tokens name the group \(group): revoke them first")
            }
            if let text = row.policy, try (JSONText.decode(text) as AccessPolicy).groups
                .contains(group.text) {
                throw CoordinatorAPI.Problem.inUse("the policy names the group \(group)")
            }
            try transaction.execute(
                "DELETE FROM group_names WHERE tenant = ? AND name = ?", .text(tenant.text),
                .text(group.text))
            try transaction.audit("group.remove", group.text, in: tenant)
        }
    }

    static func groupNames(
        in tenant: Name, _ connection: any StorageConnection
    ) throws -> Set<String> {
        Set(
            try connection.rows(
                "SELECT name FROM group_names WHERE tenant = ?", [.text(tenant.text)]
            ).map { try $0.text(0) })
    }

    /// - Throws: `not_found` for a group that the tenant does not have.
    static func requireGroups(
        _ groups: Set<Name>, in tenant: Name, _ transaction: Transaction
    ) throws {
        guard !groups.isEmpty else { return }
        let names = try groupNames(in: tenant, transaction.connection)
        if let missing = groups.map(\.text).filter({ !names.contains($0) }).min() {
            throw CoordinatorAPI.Problem.notFound(
                "tenant \(tenant) has no group \(missing): add it with branchline group add")
        }
    }
}
