import ControlModel
import Testing

@testable import Coordinator

@Suite struct AccessTests {
    @Test func ownersDoEverything() {
        #expect(Access.Operation.allCases.allSatisfy {
            Access.allows($0, to: .owner, isBound: false)
        })
    }

    @Test func adminsOfNoTenantDoNothing() {
        #expect(!Access.Operation.allCases.contains {
            Access.allows($0, to: .securityAdmin, isBound: false)
        })
    }

    /// Each role's whole row, so that a new operation must be decided on.
    @Test func rolesMayDoWhatTheTableSays() {
        func row(_ role: CoordinatorAPI.AccessRole, _ isBound: Bool) -> [Access.Operation] {
            Access.Operation.allCases.filter { Access.allows($0, to: role, isBound: isBound) }
        }
        let admin: [Access.Operation] = [.readOrganisation, .readTenant, .changeTenant, .readAudit]
        #expect(row(.securityAdmin, true) == admin)
        #expect(row(.owner, true) == admin)
        #expect(row(.auditor, false)
            == [.readOrganisation, .readAPITokens, .readTenant, .readAudit])
        #expect(row(.auditor, true) == [.readOrganisation, .readTenant, .readAudit])
        #expect(row(.observer, false) == [.readOrganisation, .readAPITokens, .readTenant])
        #expect(row(.observer, true) == [.readOrganisation, .readTenant])
    }

    @Test(arguments: Backend.available)
    func otherTenantsDoNotExistForBoundCallers(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let admin = Principal(actor: "api-token:x", role: .securityAdmin, tenant: "acme")
            _ = try await world.service.tenant("acme", by: admin)
            _ = try await world.service.reserve("acme", .init(), by: admin)
            #expect(await reason { try await world.service.tenant("beta", by: admin) }
                == "not_found")
            #expect(await reason { try await world.service.reserve("beta", .init(), by: admin) }
                == "not_found")
            #expect(await reason { try await world.service.tenant("gamma", by: admin) }
                == "not_found")
            let seen = try await world.service.tenants(by: admin, after: nil, limit: 10)
            #expect(seen.items.map(\.name) == ["acme"])
            #expect(
                await reason {
                    try await world.service.addTenant(.init(name: "x", pools: []), by: admin)
                } == "forbidden")
            let entries = try await world.service.audit(
                by: admin, after: 0, limit: 100, tenant: nil)
            #expect(entries.items.allSatisfy { $0.tenant == "acme" } && !entries.items.isEmpty)
        }
    }

    @Test(arguments: Backend.available)
    func observersReadAllButTheAuditLog(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let observer = Principal(actor: "api-token:x", role: .observer, tenant: nil)
            _ = try await world.service.nodes("beta", by: observer, after: nil, limit: 1)
            #expect(await reason {
                try await world.service.audit(by: observer, after: 0, limit: 1, tenant: nil)
            } == "forbidden")
            #expect(await reason { try await world.service.reserve("acme", .init(), by: observer) }
                == "forbidden")
            let auditor = Principal(actor: "api-token:y", role: .auditor, tenant: nil)
            _ = try await world.service.audit(by: auditor, after: 0, limit: 1, tenant: nil)
        }
    }
}
