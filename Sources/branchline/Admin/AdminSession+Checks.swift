import ControlModel
import CoordinatorClient
import PacketFormats

extension AdminSession {
    /// Refuses what the coordinator or other nodes would refuse only after addresses were reserved
    /// for it.
    func checkNewNode(
        of tenant: Name, _ authority: Authority, role: Role, groups: [Name], routes: [IPPrefix],
        ceiling: ClassCeiling
    ) async throws {
        try authority.admin.checkScope(tenant: tenant, role: role, ceiling: ceiling)
        try await checkGroups(groups, of: tenant)
        try await checkRoutes(routes, of: tenant)
    }

    /// - Throws: If there is no such group.
    func checkGroups(_ names: [Name], of tenant: Name) async throws {
        if names.isEmpty { return }
        let groups: [CoordinatorAPI.Group] = try await all("/v1/tenants/\(tenant)/groups")
        let known = Set(groups.map(\.name))
        for name in names where !known.contains(name.text) {
            throw Failure.badInput(
                "there is no group \(name) in \(tenant); see "
                    + "`branchline group list --tenant \(tenant)`")
        }
    }

    /// Addresses of a pool belong to the nodes that get them, so nodes refuse others' routes there.
    private func checkRoutes(_ routes: [IPPrefix], of tenant: Name) async throws {
        if routes.isEmpty { return }
        let answer: CoordinatorAPI.Tenant = try await get("/v1/tenants/\(tenant)")
        let pools = answer.pools.compactMap { IPPrefix($0.prefix) }
        for route in routes {
            guard let pool = pools.first(where: { $0.overlaps(route) }) else { continue }
            throw Failure.badInput(
                "the route \(route) overlaps the pool \(pool) of \(tenant), whose addresses are "
                    + "the nodes' own; give networks beside the pools")
        }
    }
}

extension Authority {
    /// How long a grant may last that is signed now.
    ///
    /// - Parameter wanted: In seconds; where that is too much, it is told what is possible.
    func granted(_ wanted: Int64, at now: Int64) -> Int64 {
        let limit = min(admin.grantSeconds, admin.validity.until - now)
        // A key that was just made for as long as the grant is no news.
        if limit + 86_400 < wanted {
            func text(_ seconds: Int64) -> String {
                Text.shortDuration(seconds: UInt64(max(seconds, 0)))
            }
            Console.error(
                "note: granting \(text(limit)), not \(text(wanted)): your admin's key may grant "
                    + "\(text(admin.grantSeconds)) at most, and ends itself "
                    + Text.time(admin.validity.until))
        }
        return min(wanted, admin.grantSeconds)
    }
}
