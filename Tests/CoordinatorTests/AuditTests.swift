import ControlModel
import Testing

@testable import Coordinator

@Suite struct AuditTests {
    @Test(arguments: Backend.available)
    func everyChangeIsInTheChain(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            try await world.revoke([world.revocation(of: .node(node.verifying))])
            let entries = try await world.service.audit(
                by: world.owner, after: 0, limit: 1_000, tenant: nil).items
            #expect(entries.map(\.action) == [
                "organisation.set-up", "api-token.create", "tenant.add", "tenant.add",
                "group.add", "reservation.add", "token.add", "node.enrol", "revocations.set",
                "node.revoke",
            ])
            var chain = AuditChain()
            for entry in entries { try chain.accept(entry) }
            #expect(chain.count == 10 && chain.hash == entries.last?.hash)
            #expect(entries[7].actor == "node:\(node.verifying)")
            #expect(!entries.contains { $0.details.values.contains { $0.contains("bln_") } })
            // What failed left no trace.
            _ = await reason { try await world.service.enrol(node.enrolment) }
            #expect(try await world.service.statistics().auditEntries == 10)
            let page = try await world.service.audit(
                by: world.owner, after: 0, limit: 3, tenant: "acme")
            #expect(page.items.allSatisfy { $0.tenant == "acme" } && page.next != nil)
        }
    }

    @Test(arguments: Backend.available)
    func changesOfTheTableShow(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            try await world.storage.write { connection in
                try connection.execute(
                    "UPDATE audit_entries SET actor = ? WHERE number = 3", [.text("nobody")])
            }
            let entries = try await world.service.audit(
                by: world.owner, after: 0, limit: 1_000, tenant: nil).items
            var chain = AuditChain()
            #expect(throws: AuditChain.Fault.self) {
                for entry in entries { try chain.accept(entry) }
            }
            #expect(chain.count == 2)
        }
    }
}
