import ControlModel
import Cryptography
import Testing

@testable import Coordinator

@Suite struct RevocationTests {
    @Test(arguments: Backend.available)
    func listsNeedTheNumberThatTheyReplace(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let list = try world.list([])
            func set(_ ifMatch: Int64?, _ list: CoordinatorAPI.SignedChain) async -> String? {
                await reason {
                    try await world.service.setRevocations(
                        "acme", list, ifMatch: ifMatch, by: world.owner)
                }
            }
            #expect(await set(nil, list) == "revision_required")
            #expect(await set(1, list) == "revision_mismatch")
            #expect(await set(0, list) == nil)
            let number = world.now - 20
            #expect(await set(0, list) == "revision_mismatch")
            // The same again changes nothing.
            #expect(await set(number, list) == nil)
            #expect(try await world.service.newestNumber("acme") == 1)
            let older = try world.list([], number: number - 1)
            #expect(await set(number, older) == "revocationListBackwards")
            let conflict = try world.list(
                [world.revocation(of: .token(try world.signToken([]).claims.id))], number: number)
            #expect(await set(number, conflict) == "revocationListConflict")
            let ahead = try world.list([], number: world.now + 1_000)
            #expect(await set(number, ahead) == "numberAhead")
            let foreign = try world.list([], of: .tenant("beta"), number: number + 1)
            #expect(await set(number, foreign) == "mixedTenant")
            let all = try world.list([], of: .organisation, number: number + 1)
            #expect(await set(number, all) == "mixedTenant")
            #expect(await set(number, .init(chain: "x")) == "notCompact")
        }
    }

    @Test(arguments: Backend.available)
    func listsThatNodesAreAheadOfAreRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let identity = try await world.identity(node)
            let newest = world.now - 15
            func report(_ number: Int64, refusals: [String: Int] = [:]) async throws {
                try await world.service.report(
                    identity,
                    .init(
                        appliedNumber: 1, tenantRevocations: number, organisationRevocations: 0,
                        refusals: refusals, endpoint: nil, agentVersion: nil))
            }
            func set(
                _ number: Int64, in tenant: Name = "acme", after old: Int64 = 0,
                by service: CoordinatorService? = nil
            ) async throws -> String? {
                let list = try world.list([], of: .tenant(tenant), number: number)
                return await reason {
                    try await (service ?? world.service).setRevocations(
                        tenant, list, ifMatch: old, by: world.owner)
                }
            }
            try await report(newest, refusals: ["revocationListBackwards": 3, "<b>": 1])
            let shown = try await world.service.node("acme", node.verifying, by: world.owner)
            #expect(shown.newestRevocations == newest && shown.newestOrganisationRevocations == 0)
            #expect(shown.refusals == ["revocationListBackwards": 3, "other": 1])
            #expect(try await set(newest - 1) == "revocations_behind")
            #expect(try await set(newest - 1, in: "beta") == nil)
            // The database has it for other replicas and after a restart.
            try await world.service.maintain(isEnd: true)
            let second = try await World.service(world.storage, world.clock)
            let again = try await second.node("acme", node.verifying, by: world.owner)
            #expect(again.newestRevocations == newest && again.refusals == shown.refusals)
            #expect(try await set(newest - 1, by: second) == "revocations_behind")
            // The list that nodes have is what helps.
            #expect(try await set(newest) == nil)
            // A node that lies does not keep out lists of the present.
            world.clock.advance(100)
            for lie in [World.start + 1, world.now, world.now + 1_000_000] {
                try await report(lie)
            }
            #expect(try await set(World.start + 1, after: newest) == nil)
            try await report(World.start)
            #expect(try await set(world.now - 20, after: World.start + 1) == nil)
            let last = try await world.service.node("acme", node.verifying, by: world.owner)
            #expect(last.newestRevocations == World.start && last.refusals == nil)
        }
    }

    @Test(arguments: Backend.available)
    func listsDoNotShrink(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let entry = world.revocation(of: .node(node.verifying), serial: node.grant.serial)
            try await world.revoke([entry])
            let number = try await world.service.revocations("acme", by: world.owner).number
            world.clock.advance(1)
            let shrunk = try world.list([])
            #expect(await reason {
                try await world.service.setRevocations(
                    "acme", shrunk, ifMatch: number, by: world.owner)
            } == "revocationListShrunk")
            #expect(try await world.state(node) == .suspended)
            // The root may take an entry back.
            let pardon = try world.list([], byRoot: true)
            _ = try await world.service.setRevocations(
                "acme", pardon, ifMatch: number, by: world.owner)
            #expect(try await world.state(node) == .active)
            // Its stream waits for a change of its own, though it has no peers to be told of.
            let changes = try await world.service.changes("acme", after: 3, limit: 10)
            #expect(changes.map(\.audience) == [.all, .gateways, .node(node.verifying)])
        }
    }

    @Test(arguments: Backend.available)
    func theOrganisationsListCountsInAllTenants(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let first = try await world.node(), second = try await world.node(in: "beta")
            let token = try await world.token(in: "beta")
            let list = try world.list(
                [
                    world.revocation(of: .node(first.verifying)),
                    world.revocation(of: .publicKey(second.grant.publicKey)),
                    world.revocation(of: .token(token.claims.id)),
                ], of: .organisation)
            let record = try await world.service.setOrganisationRevocations(
                list, ifMatch: 0, by: world.owner)
            #expect(record.chain == list.chain)
            #expect(try await world.state(first) == .revoked)
            #expect(try await world.state(second, in: "beta") == .suspended)
            let refused = try world.enrolment(token)
            #expect(await reason { try await world.service.enrol(refused.enrolment) }
                == "tokenRevoked")
            let tenant = try await world.service.tenant("beta", by: world.owner)
            #expect(tenant.pools[0].allocated == 1)
            for tenant: Name in ["acme", "beta"] {
                let changes = try await world.service.changes(tenant, after: 1, limit: 10)
                #expect(changes.map(\.audience) == [.all, .gateways])
            }
        }
    }

    @Test(arguments: Backend.available)
    func arevokedAdminsNodesAreSuspended(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let list = try world.list(
                [world.revocation(of: .admin(world.admin.verifying))], of: .organisation,
                byRoot: true)
            _ = try await world.service.setOrganisationRevocations(
                list, ifMatch: 0, by: world.owner)
            #expect(try await world.state(node) == .suspended)
            let organisation = try await world.service.organisation(by: world.owner)
            #expect(organisation.admins.map(\.isRevoked) == [true])
            #expect(await reason { try await world.token() } == "adminRevoked")
        }
    }

    @Test(arguments: Backend.available)
    func latencyIsMeasuredFromAcceptanceToReport(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let gateway = try await world.node(role: .gateway)
            let branch = try await world.node()
            let identity = try await world.identity(gateway)
            world.service.seen(identity, connected: true)
            world.service.seen(try await world.identity(branch), connected: true)
            try await world.revoke([world.revocation(of: .node(branch.verifying))])
            let number = try await world.service.revocations("acme", by: world.owner).number
            func report(_ number: Int64) async throws -> UInt64 {
                try await world.service.report(
                    identity,
                    .init(
                        appliedNumber: 3, tenantRevocations: number, organisationRevocations: 0,
                        refusals: [:], endpoint: nil, agentVersion: nil))
                return try await world.service.statistics().revocationLatencies.count
            }
            #expect(try await report(number - 1) == 0)
            #expect(try await report(number) == 1)
            #expect(try await report(number) == 1)
        }
    }

    @Test(arguments: Backend.available)
    func listsAtOnceLoseNothing(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let nodes = [try await world.node(), try await world.node()]
            let lists = try nodes.enumerated().map { index, node in
                try world.list(
                    [world.revocation(of: .node(node.verifying))],
                    number: world.now - 20 + Int64(index))
            }
            let reasons = await withTaskGroup(of: String?.self) { group in
                for list in lists {
                    group.addTask {
                        await reason {
                            try await world.service.setRevocations(
                                "acme", list, ifMatch: 0, by: world.owner)
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reasons.filter { $0 == nil }.count == 1)
            #expect(reasons.contains("revision_mismatch"))
        }
    }
}
