import ControlModel
import PacketFormats

/// Who has which address of a tenant.
///
/// Addresses are given out in turn, not lowest first, so that one that was given back rests for as
/// long as its pool allows: somebody may still send to who had it.
struct AddressTable {
    /// Whom an address belongs to, as the table has it.
    enum Owner {
        case reservation(String)
        case token(String)
        case node(String)

        var text: String {
            switch self {
            case .reservation(let id): "reservation:\(id)"
            case .token(let id): "token:\(id)"
            case .node(let key): "node:\(key)"
            }
        }
    }

    let tenant: Name
    let connection: any StorageConnection

    init(_ tenant: Name, _ connection: any StorageConnection) {
        self.tenant = tenant
        self.connection = connection
    }

    static func pool(_ prefix: String) throws -> AddressPool {
        guard let pool = IPPrefix(prefix).flatMap({ AddressPool($0) }) else {
            throw CoordinatorAPI.Problem.internal("no pool: \(prefix)")
        }
        return pool
    }

    func pools() throws -> [(pool: AddressPool, next: IPAddress, allocated: Int64)] {
        try rows(
            "SELECT prefix, next_key, allocated FROM pools WHERE tenant = ? ORDER BY prefix",
            .text(tenant.text)
        ).map { row in
            let pool = try Self.pool(try row.text(0))
            return (pool, IPAddress(sortKey: try row.text(1)) ?? pool.first, try row.integer(2))
        }
    }

    /// Takes one free address of each family that the tenant has.
    ///
    /// - Throws: `pool_exhausted`.
    func allocate(to owner: Owner) throws -> [IPPrefix] {
        let pools = try pools()
        guard !pools.isEmpty else {
            throw CoordinatorAPI.Problem.poolExhausted("tenant \(tenant) has no address pool")
        }
        var taken: [IPPrefix] = []
        for isIPv4 in [true, false] {
            let family = pools.filter { $0.pool.prefix.address.isIPv4 == isIPv4 }
            guard !family.isEmpty else { continue }
            guard let place = family.first(where: { $0.allocated < $0.pool.capacity }),
                let address = try free(in: place.pool, from: place.next)
            else {
                throw CoordinatorAPI.Problem.poolExhausted(
                    "all \(isIPv4 ? "IPv4" : "IPv6") addresses of tenant \(tenant) are taken: "
                        + "add a pool")
            }
            try take(address, of: place.pool, for: owner)
            let next = address == place.pool.last ? place.pool.first : address.successor
            try execute(
                "UPDATE pools SET next_key = ? WHERE tenant = ? AND prefix = ?",
                .text(next.sortKey), .text(tenant.text), .text(place.pool.prefix.description))
            taken.append(IPPrefix(host: address))
        }
        return taken
    }

    /// Takes addresses that the caller chose.
    ///
    /// - Throws: `invalid_request`, `in_use`.
    func take(_ wanted: [IPPrefix], for owner: Owner) throws {
        let pools = try pools().map(\.pool)
        for prefix in wanted {
            guard prefix.isHost, let pool = pools.first(where: { $0.holds(prefix.address) }) else {
                throw CoordinatorAPI.Problem.invalidRequest(
                    "\(prefix) is no single address of a pool of tenant \(tenant)")
            }
            guard try !isTaken(prefix.address) else {
                throw CoordinatorAPI.Problem.inUse("\(prefix) is taken: choose another address")
            }
            try take(prefix.address, of: pool, for: owner)
        }
    }

    /// Routes lead to networks behind a node, where none of the tenant's own nodes are: others
    /// refuse a node whose routes hold their addresses. A default route through a gateway leads to
    /// everything else.
    ///
    /// - Throws: `pool_overlap`.
    func requireOutside(_ routes: Set<IPPrefix>, of role: Role) throws {
        guard !routes.isEmpty else { return }
        let pools = try pools().map(\.pool.prefix)
        for route in routes.sorted() where role != .gateway || route.length > 0 {
            let pool = pools.first {
                $0.contains(route.address) || route.contains($0.address)
            }
            guard let pool else { continue }
            throw CoordinatorAPI.Problem.poolOverlap(
                "the route \(route) overlaps the tenant's own pool \(pool), whose addresses are "
                    + "reached without it: name the network behind the node only")
        }
    }

    /// Everything that `owner` has.
    func addresses(of owner: Owner) throws -> Set<IPPrefix> {
        let keys = try rows(
            "SELECT sort_key FROM addresses WHERE tenant = ? AND owner = ?",
            .text(tenant.text), .text(owner.text))
        return Set(try keys.compactMap { IPAddress(sortKey: try $0.text(0)) }.map(IPPrefix.init))
    }

    func handOver(from owner: Owner, to other: Owner) throws {
        try execute(
            "UPDATE addresses SET owner = ? WHERE tenant = ? AND owner = ?", .text(other.text),
            .text(tenant.text), .text(owner.text))
    }

    /// Gives everything that `owner` has back to the pools.
    func release(_ owner: Owner) throws {
        let freed = try rows(
            "DELETE FROM addresses WHERE tenant = ? AND owner = ? RETURNING pool",
            .text(tenant.text), .text(owner.text))
        for row in freed {
            try execute(
                "UPDATE pools SET allocated = allocated - 1 WHERE tenant = ? AND prefix = ?",
                .text(tenant.text), .text(try row.text(0)))
        }
    }

    private func take(_ address: IPAddress, of pool: AddressPool, for owner: Owner) throws {
        try execute(
            "INSERT INTO addresses (tenant, sort_key, pool, owner) VALUES (?, ?, ?, ?)",
            .text(tenant.text), .text(address.sortKey), .text(pool.prefix.description),
            .text(owner.text))
        try execute(
            "UPDATE pools SET allocated = allocated + 1 WHERE tenant = ? AND prefix = ?",
            .text(tenant.text), .text(pool.prefix.description))
    }

    private func isTaken(_ address: IPAddress) throws -> Bool {
        try !rows(
            "SELECT 1 FROM addresses WHERE tenant = ? AND sort_key = ?", .text(tenant.text),
            .text(address.sortKey)
        ).isEmpty
    }

    /// The first free address from `start` on, and from the pool's begin where the end is reached.
    private func free(in pool: AddressPool, from start: IPAddress) throws -> IPAddress? {
        if let address = try free(from: start, through: pool.last) { return address }
        return try free(from: pool.first, through: pool.last)
    }

    /// Goes along the taken addresses until one is missing.
    ///
    /// - Complexity: Linear in the taken addresses without a gap.
    private func free(from start: IPAddress, through last: IPAddress) throws -> IPAddress? {
        var candidate = start
        while true {
            let taken = try rows(
                """
                SELECT sort_key FROM addresses WHERE tenant = ? AND sort_key >= ?
                    AND sort_key <= ? ORDER BY sort_key LIMIT ?
                """, .text(tenant.text), .text(candidate.sortKey), .text(last.sortKey),
                .integer(Self.step))
            for row in taken {
                guard try row.text(0) == candidate.sortKey else { return candidate }
                guard candidate != last else { return nil }
                candidate = candidate.successor
            }
            if taken.count < Self.step { return candidate }
        }
    }

    private func execute(_ sql: String, _ arguments: SQLValue...) throws {
        try connection.execute(sql, arguments)
    }

    private func rows(_ sql: String, _ arguments: SQLValue...) throws -> [SQLRow] {
        try connection.rows(sql, arguments)
    }

    private static let step: Int64 = 64
}
