import ControlModel
import PacketFormats
import Testing

@testable import Coordinator

@Suite struct TenantTests {
    @Test(arguments: Backend.available)
    func poolsOfOneTenantDoNotOverlap(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func add(_ prefix: String, to tenant: Name = "acme") async -> String? {
                await reason {
                    try await world.service.addPool(tenant, .init(prefix: prefix), by: world.owner)
                }
            }
            #expect(await add("10.64.5.0/24") == "pool_overlap")
            #expect(await add("10.0.0.0/8") == "pool_overlap")
            #expect(await add("127.0.0.0/8") == "invalid_request")
            #expect(await add("10.65.0.0/16'; DROP TABLE pools; --") == "invalid_request")
            #expect(await add("10.65.0.0/16") == nil)
            // Two tenants may have the same addresses.
            let tenant = try await world.service.tenant("beta", by: world.owner)
            #expect(tenant.pools.map(\.prefix) == ["10.64.0.0/16", "fd00:64::/64"])
            #expect(tenant.pools.map(\.capacity) == [65_534, TrustLimits.integerMax])
        }
    }

    @Test(arguments: Backend.available)
    func poolsInUseStay(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let prefix = try #require(IPPrefix("10.64.0.0/16"))
            _ = try await world.service.reserve("acme", .init(), by: world.owner)
            #expect(
                await reason {
                    try await world.service.removePool("acme", prefix, by: world.owner)
                } == "in_use")
            world.clock.advance(600)
            try await world.service.maintain()
            let tenant = try await world.service.removePool("acme", prefix, by: world.owner)
            #expect(tenant.pools.map(\.prefix) == ["fd00:64::/64"])
            #expect(tenant.revision == 2)
            #expect(
                await reason {
                    try await world.service.removePool("acme", prefix, by: world.owner)
                } == "not_found")
        }
    }

    @Test(arguments: Backend.available)
    func smallPoolsAreUsedToTheLastAddress(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            _ = try await world.service.addTenant(
                .init(name: "tiny", pools: ["10.9.0.0/30"]), by: world.owner)
            let first = try await world.service.reserve("tiny", .init(), by: world.owner)
            let second = try await world.service.reserve("tiny", .init(), by: world.owner)
            #expect(first.addresses == ["10.9.0.1/32"] && second.addresses == ["10.9.0.2/32"])
            #expect(await reason {
                try await world.service.reserve("tiny", .init(), by: world.owner)
            } == "pool_exhausted")
            _ = try await world.service.addPool(
                "tiny", .init(prefix: "10.9.1.0/32"), by: world.owner)
            let third = try await world.service.reserve("tiny", .init(), by: world.owner)
            #expect(third.addresses == ["10.9.1.0/32"])
            // Once a reservation lapses, its addresses are free.
            world.clock.advance(599)
            #expect(await reason {
                try await world.service.reserve("tiny", .init(), by: world.owner)
            } == "pool_exhausted")
            world.clock.advance(1)
            let again = try await world.service.reserve("tiny", .init(), by: world.owner)
            #expect(again.addresses == ["10.9.0.1/32"])
        }
    }

    @Test(arguments: Backend.available)
    func chosenAddressesMustBeFreeHostsOfAPool(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func reserve(_ addresses: String...) async -> String? {
                await reason {
                    try await world.service.reserve(
                        "acme", .init(addresses: addresses), by: world.owner)
                }
            }
            #expect(await reserve("10.64.0.9/32", "fd00:64::9/128") == nil)
            #expect(await reserve("10.64.0.9/32") == "in_use")
            #expect(await reserve("10.64.0.10/32", "10.64.0.10/32") == "in_use")
            #expect(await reserve("10.64.0.10/32") == nil)
            #expect(await reserve("10.64.1.0/24") == "invalid_request")
            #expect(await reserve("10.64.0.0/32") == "invalid_request")
            #expect(await reserve("10.64.255.255/32") == "invalid_request")
            #expect(await reserve("10.65.0.1/32") == "invalid_request")
            #expect(await reserve("x") == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func whatFillsTheDatabaseIsLimited(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let pools = (1...16).map { "10.\($0).0.0/16" }
            _ = try await world.service.addTenant(
                .init(name: "full", pools: pools), by: world.owner)
            #expect(await reason {
                try await world.service.addPool(
                    "full", .init(prefix: "10.99.0.0/16"), by: world.owner)
            } == "limit_reached")
            #expect(await reason {
                try await world.service.addTenant(
                    .init(name: "over", pools: pools + ["10.99.0.0/16"]), by: world.owner)
            } == "limit_reached")
            func reserve() async -> String? {
                await reason { try await world.service.reserve("acme", .init(), by: world.owner) }
            }
            let reasons = await withTaskGroup(of: String?.self) { group in
                for _ in 0..<1_001 { group.addTask { await reserve() } }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reasons.filter { $0 == nil }.count == 1_000)
            #expect(reasons.contains("limit_reached"))
            #expect(await reason {
                try await world.service.reserve("beta", .init(), by: world.owner)
            } == nil)
        }
    }

    @Test(arguments: Backend.available)
    func tenantsWithNodesStay(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node { $0.groups = ["plants"] }
            func delete(_ revision: Int64?) async -> String? {
                await reason {
                    try await world.service.deleteTenant(
                        "acme", ifMatch: revision, by: world.owner)
                }
            }
            #expect(await delete(1) == "in_use")
            try await world.revoke([world.revocation(of: .node(node.verifying))])
            #expect(await delete(nil) == "revision_required")
            #expect(await delete(0) == "revision_mismatch")
            #expect(await delete(1) == nil)
            #expect(await delete(1) == "not_found")
            // Made again it goes on counting, and what was revoked stays revoked.
            _ = try await world.service.addTenant(.init(name: "acme", pools: []), by: world.owner)
            #expect(try await world.service.newestNumber("acme") == 3)
            #expect(try await world.service.revocations("acme", by: world.owner).number > 0)
            #expect(await reason { try await world.service.enrol(node.enrolment) }
                == "token_unknown")
        }
    }

    @Test(arguments: Backend.available)
    func hostileNamesAreRefusedOrKept(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            for name in ["", "Acme", "a b", "x'; DROP TABLE tenants; --", "-a", "a\u{0}b", "ä"] {
                #expect(
                    await reason {
                        try await world.service.addTenant(
                            .init(name: name, pools: []), by: world.owner)
                    } == "invalid_request")
            }
            #expect(await reason {
                try await world.service.addTenant(.init(name: "acme", pools: []), by: world.owner)
            } == "already_exists")
            let text = "Robert'); DROP TABLE group_names; -- \"?$1 ü"
            let group = try await world.service.addGroup(
                "acme", .init(name: "x", description: text), by: world.owner)
            #expect(group.description == text)
            let groups = try await world.service.groups(
                "acme", by: world.owner, after: "plants", limit: 10)
            #expect(groups.items.map(\.description) == [text])
            for note in ["a\u{0}b", "line\nfeed", String(repeating: "x", count: 1_025)] {
                #expect(await reason {
                    try await world.service.addGroup(
                        "acme", .init(name: "y", description: note), by: world.owner)
                } == "invalid_request")
            }
        }
    }

    @Test(arguments: Backend.available)
    func listsGoOnWhereTheyStopped(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            for index in 0..<5 {
                _ = try await world.service.addGroup(
                    "acme", .init(name: "g\(index)"), by: world.owner)
            }
            var names: [String] = [], after: String?
            repeat {
                let page = try await world.service.groups(
                    "acme", by: world.owner, after: after, limit: 2)
                names += page.items.map(\.name)
                after = page.next
            } while after != nil
            #expect(names == ["g0", "g1", "g2", "g3", "g4", "plants"])
        }
    }
}
