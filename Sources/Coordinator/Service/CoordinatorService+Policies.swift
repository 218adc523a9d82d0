public import ControlModel
import Cryptography

extension CoordinatorService {
    /// - Returns: An empty policy at revision 0 before the first.
    public func policy(
        _ tenant: Name, by principal: Principal
    ) async throws -> (policy: AccessPolicy, revision: Int64) {
        try principal.check(.readTenant, in: tenant)
        return try await storage.read { connection in
            let row = try TenantRow.find(tenant, connection)
            let policy: AccessPolicy = try row.policy.map { try JSONText.decode($0) }
                ?? AccessPolicy(rules: [], tests: [])
            return (policy, row.policyRevision)
        }
    }

    /// - Returns: The new revision.
    /// - Throws: `policy_tests_failed` with the tests that failed, `invalid_request` with what is
    ///   wrong with the policy itself.
    public func setPolicy(
        _ tenant: Name, _ policy: AccessPolicy, ifMatch: Int64?, by principal: Principal
    ) async throws -> Int64 {
        try principal.check(.changeTenant, in: tenant)
        return try await write(as: principal.actor) { transaction in
            let row = try transaction.tenant(tenant)
            try Self.check(ifMatch, row.policyRevision, "policy")
            try Self.check(policy, groups: try Self.groupNames(in: tenant, transaction.connection))
            let text = try JSONText.encode(policy)
            try transaction.execute(
                "UPDATE tenants SET policy = ?, policy_revision = policy_revision + 1 "
                    + "WHERE name = ?", .text(text), .text(tenant.text))
            try transaction.publish(.init(policy: policy), to: .all, in: tenant.text)
            try Self.auditPolicy("policy.set", text, row.policyRevision + 1, tenant, transaction)
            return row.policyRevision + 1
        }
    }

    public func qos(
        _ tenant: Name, by principal: Principal
    ) async throws -> (policy: QoSPolicy, revision: Int64) {
        try principal.check(.readTenant, in: tenant)
        return try await storage.read { connection in
            let row = try TenantRow.find(tenant, connection)
            let policy: QoSPolicy = try row.qos.map { try JSONText.decode($0) }
                ?? QoSPolicy(services: [], weights: [:], minimumRate: nil, maximumRate: nil)
            return (policy, row.qosRevision)
        }
    }

    public func setQoS(
        _ tenant: Name, _ policy: QoSPolicy, ifMatch: Int64?, by principal: Principal
    ) async throws -> Int64 {
        try principal.check(.changeTenant, in: tenant)
        try Self.checkFaults(policy.faults())
        return try await write(as: principal.actor) { transaction in
            let row = try transaction.tenant(tenant)
            try Self.check(ifMatch, row.qosRevision, "QoS policy")
            let text = try JSONText.encode(policy)
            try transaction.execute(
                "UPDATE tenants SET qos = ?, qos_revision = qos_revision + 1 WHERE name = ?",
                .text(text), .text(tenant.text))
            try transaction.publish(.init(qos: policy), to: .all, in: tenant.text)
            try Self.auditPolicy("qos.set", text, row.qosRevision + 1, tenant, transaction)
            return row.qosRevision + 1
        }
    }

    /// Asks what `setPolicy` would say, and changes nothing.
    public func testPolicy(
        _ tenant: Name, _ policy: AccessPolicy, by principal: Principal
    ) async throws {
        try principal.check(.readTenant, in: tenant)
        try await storage.read { connection in
            try TenantRow.require(tenant, connection)
            try Self.check(policy, groups: try Self.groupNames(in: tenant, connection))
        }
    }

    private static func check(_ policy: AccessPolicy, groups: Set<String>) throws {
        try checkFaults(policy.faults(groups: groups))
        let failures = policy.testFailures()
        guard failures.isEmpty else {
            throw CoordinatorAPI.Problem.policyTestsFailed(failures)
        }
    }

    private static func checkFaults(_ faults: [String]) throws {
        guard faults.isEmpty else {
            throw CoordinatorAPI.Problem(
                .invalidRequest, status: 400,
                detail: "the policy cannot be read as meant; nothing was changed",
                failures: faults)
        }
    }

    private static func auditPolicy(
        _ action: String, _ text: String, _ revision: Int64, _ tenant: Name,
        _ transaction: Transaction
    ) throws {
        try transaction.audit(
            action, tenant.text, in: tenant,
            ["revision": "\(revision)", "sha-256": Base64URL.encode(SHA256.hash(text))])
    }
}
