public import ControlModel
public import PacketFormats

extension CoordinatorService {
    public func addTenant(
        _ request: CoordinatorAPI.TenantRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.Tenant {
        try principal.check(.addTenant)
        let name = try Texts.name(request.name, "tenant")
        guard request.pools.count <= ServiceLimits.poolsMax else {
            throw CoordinatorAPI.Problem.limitReached(
                "a tenant has at most \(ServiceLimits.poolsMax) pools")
        }
        let pools = try request.pools.map(Self.pool)
        return try await write(as: principal.actor) { transaction in
            let known = try transaction.rows(
                "SELECT 1 FROM tenants WHERE name = ?", .text(name.text))
            guard known.isEmpty else {
                throw CoordinatorAPI.Problem.alreadyExists("there is a tenant \(name) already")
            }
            let count = try transaction.rows("SELECT COUNT(*) FROM tenants")
            try transaction.checkRoom(
                try count[0].integer(0), ServiceLimits.tenantsMax, "tenants")
            let number = try transaction.rows(
                "SELECT change_number FROM former_tenants WHERE name = ?", .text(name.text)
            ).first?.integer(0) ?? 0
            try transaction.execute(
                """
                INSERT INTO tenants (name, created_at, revision, node_count, unused_tokens,
                    change_number, gateway_number, policy_revision, qos_revision)
                    VALUES (?, ?, 1, 0, 0, ?, ?, 0, 0)
                """, .text(name.text), .integer(transaction.now), .integer(number),
                .integer(number))
            for pool in pools { try Self.insert(pool, in: name, transaction) }
            try transaction.audit(
                "tenant.add", name.text, in: name, ["pools": Texts.join(request.pools)])
            return try transaction.tenant(name).message(transaction.connection)
        }
    }

    public func tenants(
        by principal: Principal, after: String?, limit: Int
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.Tenant> {
        try principal.check(.readTenant)
        let own = principal.tenant?.text
        return try await Self.page(storage, limit: limit, key: \.name) { connection, count in
            try connection.rows(
                """
                SELECT \(TenantRow.columns) FROM tenants
                    WHERE name > ? AND (? = 1 OR name = ?) ORDER BY name LIMIT ?
                """,
                [.text(after ?? ""), .flag(own == nil), .text(own ?? ""), .integer(count)]
            ).map { try TenantRow($0).message(connection) }
        }
    }

    public func tenant(
        _ tenant: Name, by principal: Principal
    ) async throws -> CoordinatorAPI.Tenant {
        try principal.check(.readTenant, in: tenant)
        return try await storage.read { connection in
            try TenantRow.find(tenant, connection).message(connection)
        }
    }

    /// - Throws: `in_use` while there are nodes that were neither revoked nor left.
    public func deleteTenant(
        _ tenant: Name, ifMatch: Int64?, by principal: Principal
    ) async throws {
        try principal.check(.removeTenant, in: tenant)
        try await write(as: principal.actor) { transaction in
            let row = try transaction.tenant(tenant)
            try Self.check(ifMatch, row.revision, "tenant")
            guard row.nodeCount == 0 else {
                throw CoordinatorAPI.Problem.inUse(
                    "tenant \(tenant) has \(row.nodeCount) nodes: revoke them first")
            }
            // Its changes number and its revocation list stay: they may not go back.
            try transaction.execute(
                """
                INSERT INTO former_tenants (name, change_number) VALUES (?, ?)
                    ON CONFLICT (name) DO UPDATE SET change_number = excluded.change_number
                """, .text(tenant.text), .integer(row.changeNumber))
            // These point at groups, which fall with the tenant in no certain order.
            try transaction.execute(
                "DELETE FROM token_groups WHERE tenant = ?", .text(tenant.text))
            try transaction.execute("DELETE FROM nodes WHERE tenant = ?", .text(tenant.text))
            try transaction.execute("DELETE FROM tenants WHERE name = ?", .text(tenant.text))
            try transaction.audit("tenant.delete", tenant.text, in: tenant)
        }
    }

    public func addPool(
        _ tenant: Name, _ request: CoordinatorAPI.PoolRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.Tenant {
        try principal.check(.changeTenant, in: tenant)
        let pool = try Self.pool(request.prefix)
        return try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            try Self.insert(pool, in: tenant, transaction)
            try Self.bump(tenant, transaction)
            try transaction.audit("pool.add", pool.prefix.description, in: tenant)
            return try transaction.tenant(tenant).message(transaction.connection)
        }
    }

    /// - Throws: `in_use` while an address of it is.
    public func removePool(
        _ tenant: Name, _ prefix: IPPrefix, by principal: Principal
    ) async throws -> CoordinatorAPI.Tenant {
        try principal.check(.changeTenant, in: tenant)
        return try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            let found = try transaction.rows(
                "SELECT allocated FROM pools WHERE tenant = ? AND prefix = ?",
                .text(tenant.text), .text(prefix.description))
            guard let allocated = try found.first?.integer(0) else {
                throw CoordinatorAPI.Problem.notFound("tenant \(tenant) has no pool \(prefix)")
            }
            guard allocated == 0 else {
                throw CoordinatorAPI.Problem.inUse(
                    "\(allocated) addresses of \(prefix) are taken: revoke their nodes and tokens "
                        + "first")
            }
            try transaction.execute(
                "DELETE FROM pools WHERE tenant = ? AND prefix = ?", .text(tenant.text),
                .text(prefix.description))
            try Self.bump(tenant, transaction)
            try transaction.audit("pool.remove", prefix.description, in: tenant)
            return try transaction.tenant(tenant).message(transaction.connection)
        }
    }

    public func reserve(
        _ tenant: Name, _ request: CoordinatorAPI.ReservationRequest, by principal: Principal
    ) async throws -> CoordinatorAPI.Reservation {
        try principal.check(.changeTenant, in: tenant)
        guard request.addresses.count <= TrustLimits.addressesMax else {
            throw CoordinatorAPI.Problem.limitReached(
                "a node has at most \(TrustLimits.addressesMax) addresses")
        }
        let wanted = try request.addresses.map { text in
            guard let prefix = IPPrefix(text) else {
                throw CoordinatorAPI.Problem.invalidRequest(
                    "addresses are host prefixes such as 10.64.0.9/32")
            }
            return prefix
        }
        return try await write(as: principal.actor) { transaction in
            try TenantRow.require(tenant, transaction.connection)
            try Self.lapseReservations(transaction)
            let count = try transaction.rows(
                "SELECT COUNT(*) FROM reservations WHERE tenant = ?", .text(tenant.text))
            try transaction.checkRoom(
                try count[0].integer(0), ServiceLimits.reservationsMax, "reservations")
            let table = AddressTable(tenant, transaction.connection)
            let reservation = CoordinatorAPI.Reservation(
                id: Texts.identifier(), addresses: [],
                expiresAt: transaction.now + ServiceLimits.reservationSeconds)
            var taken = wanted
            if wanted.isEmpty {
                taken = try table.allocate(to: .reservation(reservation.id))
            } else {
                try table.take(wanted, for: .reservation(reservation.id))
            }
            try transaction.execute(
                "INSERT INTO reservations (id, tenant, expires_at) VALUES (?, ?, ?)",
                .text(reservation.id), .text(tenant.text), .integer(reservation.expiresAt))
            let addresses = taken.sorted().map(\.description)
            try transaction.audit(
                "reservation.add", reservation.id, in: tenant,
                ["addresses": Texts.join(addresses)])
            return CoordinatorAPI.Reservation(
                id: reservation.id, addresses: addresses, expiresAt: reservation.expiresAt)
        }
    }

    /// The addresses that a reservation holds, which end it.
    ///
    /// - Throws: `not_found` for one that has lapsed.
    static func addresses(
        ofReservation id: String, in tenant: Name, _ transaction: Transaction
    ) throws -> Set<IPPrefix> {
        let found = try transaction.rows(
            "SELECT 1 FROM reservations WHERE id = ? AND tenant = ? AND expires_at > ?",
            .text(id), .text(tenant.text), .integer(transaction.now))
        guard !found.isEmpty else {
            throw CoordinatorAPI.Problem.notFound(
                "the reservation has lapsed or was never made: reserve addresses again")
        }
        return try AddressTable(tenant, transaction.connection).addresses(of: .reservation(id))
    }

    /// - Throws: `revision_required`, `revision_mismatch`.
    static func check(_ ifMatch: Int64?, _ revision: Int64, _ what: String) throws {
        guard let ifMatch else { throw CoordinatorAPI.Problem.revisionRequired(what) }
        guard ifMatch == revision else {
            throw CoordinatorAPI.Problem.revisionMismatch(what, current: revision)
        }
    }

    private static func bump(_ tenant: Name, _ transaction: Transaction) throws {
        try transaction.execute(
            "UPDATE tenants SET revision = revision + 1 WHERE name = ?", .text(tenant.text))
    }

    private static func pool(_ text: String) throws -> AddressPool {
        guard let prefix = IPPrefix(text), let pool = AddressPool(prefix) else {
            throw CoordinatorAPI.Problem.invalidRequest(
                "a pool is a unicast network such as 10.64.0.0/16 or fd00:64::/64, at most a /8 "
                    + "or, of IPv6, a /16")
        }
        return pool
    }

    /// - Throws: `pool_overlap`, `limit_reached`.
    private static func insert(
        _ pool: AddressPool, in tenant: Name, _ transaction: Transaction
    ) throws {
        let others = try AddressTable(tenant, transaction.connection).pools().map(\.pool)
        try transaction.checkRoom(
            Int64(others.count), Int64(ServiceLimits.poolsMax), "pools in this tenant")
        if let other = others.first(where: pool.overlaps) {
            throw CoordinatorAPI.Problem.poolOverlap(
                "\(pool.prefix) overlaps the pool \(other.prefix) of the same tenant")
        }
        try transaction.execute(
            "INSERT INTO pools (tenant, prefix, next_key, allocated) VALUES (?, ?, ?, 0)",
            .text(tenant.text), .text(pool.prefix.description), .text(pool.first.sortKey))
    }
}
