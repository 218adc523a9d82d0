import ControlModel
import Cryptography
import Testing

@testable import Coordinator

@Suite struct OrganisationTests {
    @Test(arguments: Backend.available)
    func organisationIsMadeOnce(over backend: Backend) async throws {
        try await withWorld(backend, isPrepared: false) { world in
            #expect(await reason { try await world.service.organisation(by: world.owner) }
                == "not_set_up")
            #expect(await reason { try await world.setUp(code: "bls_other") } == "unauthenticated")
            let secret = try await world.setUp()
            #expect(secret.secret.hasPrefix("bla_") && secret.secret.utf8.count == 47)
            #expect(await reason { try await world.setUp() } == "already_exists")
            let principal = try await world.service.principal(forAPIToken: secret.secret)
            #expect(principal.role == .owner && principal.tenant == nil)
            let organisation = try await world.service.organisation(by: principal)
            #expect(organisation.root == world.root.verifying.base64URL)
            #expect(organisation.admins.map(\.key) == [world.admin.verifying.base64URL])
        }
    }

    @Test(arguments: Backend.available)
    func adminsOfAnotherRootAreRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let forged = try Statement.admin(try world.adminKey()).signed(by: Key().signing)
            #expect(
                await reason {
                    try await world.service.addAdmin(.init(statement: forged), by: world.owner)
                } == "unknownIssuer")
            let other = Key()
            let link = try world.adminLink { $0.key = other.verifying }
            let admin = try await world.service.addAdmin(
                .init(statement: link), by: world.owner)
            #expect(admin.key == other.verifying.base64URL && !admin.isRevoked)
        }
    }

    @Test(arguments: Backend.available)
    func rolloverIsFollowedAndReachesAllTenants(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let next = Key()
            let rollover = RootRollover(
                nextRoot: next.verifying, retiresAt: world.now + World.day,
                validity: try world.validity(-60, 30 * World.day))
            let text = try Statement.rollover(rollover).signed(by: world.root.signing)
            let organisation = try await world.service.addRollover(
                .init(statement: text), by: world.owner)
            #expect(organisation.rollovers == [text])
            for tenant: Name in ["acme", "beta"] {
                let changes = try await world.service.changes(tenant, after: 0, limit: 10)
                #expect(changes.map(\.audience) == [.all])
            }
            // Again changes nothing.
            _ = try await world.service.addRollover(.init(statement: text), by: world.owner)
            #expect(try await world.service.newestNumber("acme") == 1)
            // The new root's admins count.
            let link = try Statement.admin(try world.adminKey()).signed(by: next.signing)
            _ = try await world.service.addAdmin(.init(statement: link), by: world.owner)
            let node = try await world.node()
            #expect(try await world.state(node) == .active)
            world.clock.advance(2 * World.day)
            #expect(await reason { try await world.token() } == "rootRetired")
        }
    }

    @Test(arguments: Backend.available)
    func apiTokensExpireAndAreTakenBack(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let made = try await world.service.createAPIToken(
                .init(name: "ci", role: .securityAdmin, tenant: "acme", expiresAt: world.now + 100),
                by: world.owner)
            let principal = try await world.service.principal(forAPIToken: made.secret)
            #expect(principal.tenant == "acme" && principal.role == .securityAdmin)
            let listed = try await world.service.apiTokens(by: world.owner, after: nil, limit: 10)
            #expect(listed.items.first { $0.id == made.token.id }?.lastUsedAt == world.now)
            world.clock.advance(99)
            _ = try await world.service.principal(forAPIToken: made.secret)
            world.clock.advance(1)
            #expect(
                await reason { try await world.service.principal(forAPIToken: made.secret) }
                    == "unauthenticated")
            try await world.service.maintain()
            let kept = try await world.service.apiTokens(by: world.owner, after: nil, limit: 10)
            #expect(kept.items.first { $0.id == made.token.id }?.lastUsedAt == world.now - 1)
            try await world.service.deleteAPIToken(made.token.id, by: world.owner)
            #expect(
                await reason {
                    try await world.service.deleteAPIToken(made.token.id, by: world.owner)
                } == "not_found")
        }
    }

    @Test(arguments: Backend.available)
    func theLastLastingOwnerTokenStays(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let first = try await world.service.apiTokens(by: world.owner, after: nil, limit: 10)
                .items[0].id
            func make(_ role: CoordinatorAPI.AccessRole, _ end: Int64?) async throws -> String {
                try await world.service.createAPIToken(
                    .init(name: "x", role: role, tenant: nil, expiresAt: end), by: world.owner
                ).token.id
            }
            let short = try await make(.owner, world.now + 100)
            _ = try await make(.observer, nil)
            #expect(
                await reason {
                    try await world.service.deleteAPIToken(first, by: world.owner)
                } == "in_use")
            let second = try await make(.owner, nil)
            try await world.service.deleteAPIToken(first, by: world.owner)
            try await world.service.deleteAPIToken(short, by: world.owner)
            #expect(
                await reason {
                    try await world.service.deleteAPIToken(second, by: world.owner)
                } == "in_use")
        }
    }

    @Test(arguments: Backend.available)
    func theCoordinatorItselfMakesOwnerTokens(over backend: Backend) async throws {
        try await withWorld(backend, isPrepared: false) { world in
            #expect(
                await reason { try await world.service.makeOwnerToken(name: "x") } == "not_set_up")
            try await world.prepare()
            let made = try await world.service.makeOwnerToken(name: "rescue")
            let principal = try await world.service.principal(forAPIToken: made.secret)
            #expect(principal.role == .owner && principal.tenant == nil)
            let entry = try await world.service.audit(
                by: world.owner, after: 0, limit: 100, tenant: nil
            ).items.last
            #expect(entry?.action == "api-token.create" && entry?.actor == "coordinator")
        }
    }

    @Test(arguments: Backend.available)
    func apiTokensNeedFittingRoles(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            func make(_ role: CoordinatorAPI.AccessRole, _ tenant: String?) async -> String? {
                await reason {
                    try await world.service.createAPIToken(
                        .init(name: "x", role: role, tenant: tenant, expiresAt: nil),
                        by: world.owner)
                }
            }
            #expect(await make(.owner, "acme") == "invalid_request")
            #expect(await make(.securityAdmin, nil) == "invalid_request")
            #expect(await make(.observer, "nowhere") == "not_found")
            #expect(await make(.observer, "a' OR '1'='1") == "invalid_request")
            #expect(await make(.observer, "acme") == nil)
            #expect(await make(.auditor, nil) == nil)
            let ofANode = "bln_" + String(repeating: "A", count: 43)
            for secret in ["", "bla_", "bla_' OR 1=1 --", ofANode] {
                #expect(
                    await reason { try await world.service.principal(forAPIToken: secret) }
                        == "unauthenticated")
            }
        }
    }
}
