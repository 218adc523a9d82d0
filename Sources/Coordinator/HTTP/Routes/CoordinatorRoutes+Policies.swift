import ControlModel
import HTTPTypes
import Hummingbird
import NIOCore

extension CoordinatorRoutes {
    var policies: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/tenants/{tenant}/policy", .admin,
                Operation(
                    "getPolicy", .policies, "Which group may reach which.",
                    answer: .ok("AccessPolicy", hasETag: true))
            ) {
                let (policy, revision) = try await service.policy(
                    $0.tenant(), by: $0.principal())
                return try APIAnswer.json(policy, etag: revision)
            },
            Route(
                .put, "/v1/tenants/{tenant}/policy", .admin, body: .policy,
                Operation(
                    "setPolicy", .policies, "Replaces the policy, if it passes its own tests.",
                    request: "AccessPolicy", needsIfMatch: true,
                    answer: .nothing(hasETag: true), problems: [409, 422])
            ) {
                let revision = try await service.setPolicy(
                    $0.tenant(), $0.decoded(), ifMatch: $0.ifMatch(), by: $0.principal())
                return APIAnswer.nothing(etag: revision)
            },
            Route(
                .post, "/v1/tenants/{tenant}/policy/test", .admin, body: .policy,
                Operation(
                    "testPolicy", .policies, "Runs a policy's tests; changes nothing.",
                    request: "AccessPolicy", answer: .ok("PolicyTestResult"),
                    problems: [409, 422])
            ) {
                try await service.testPolicy($0.tenant(), $0.decoded(), by: $0.principal())
                return try APIAnswer.json(["failures": [String]()])
            },
            Route(
                .get, "/v1/tenants/{tenant}/qos", .admin,
                Operation(
                    "getQoS", .policies, "How traffic is told apart.",
                    answer: .ok("QoSPolicy", hasETag: true))
            ) {
                let (policy, revision) = try await service.qos($0.tenant(), by: $0.principal())
                return try APIAnswer.json(policy, etag: revision)
            },
            Route(
                .put, "/v1/tenants/{tenant}/qos", .admin, body: .policy,
                Operation(
                    "setQoS", .policies, "Replaces how traffic is told apart.",
                    request: "QoSPolicy", needsIfMatch: true, answer: .nothing(hasETag: true),
                    problems: [422])
            ) {
                let revision = try await service.setQoS(
                    $0.tenant(), $0.decodedWhole(), ifMatch: $0.ifMatch(), by: $0.principal())
                return APIAnswer.nothing(etag: revision)
            },
        ]
    }

    var revocations: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/organisation/revocations", .admin,
                Operation(
                    "getOrganisationRevocations", .organisation,
                    "What is revoked in all tenants.",
                    answer: .ok("RevocationsRecord", hasETag: true), problems: [409])
            ) {
                let record = try await service.organisationRevocations(by: $0.principal())
                return try APIAnswer.json(record, etag: record.number)
            },
            Route(
                .put, "/v1/organisation/revocations", .admin, body: .revocations,
                Operation(
                    "setOrganisationRevocations", .organisation, "Takes a newer list.",
                    request: "SignedChain", needsIfMatch: true,
                    answer: .ok("RevocationsRecord", hasETag: true), problems: [409, 422])
            ) {
                let record = try await service.setOrganisationRevocations(
                    $0.decoded(), ifMatch: $0.ifMatch(), by: $0.principal())
                return try APIAnswer.json(record, etag: record.number)
            },
            Route(
                .get, "/v1/tenants/{tenant}/revocations", .admin,
                Operation(
                    "getRevocations", .tenants, "What is revoked in one tenant.",
                    answer: .ok("RevocationsRecord", hasETag: true))
            ) {
                let record = try await service.revocations($0.tenant(), by: $0.principal())
                return try APIAnswer.json(record, etag: record.number)
            },
            Route(
                .put, "/v1/tenants/{tenant}/revocations", .admin, body: .revocations,
                Operation(
                    "setRevocations", .tenants, "Takes a newer list.",
                    request: "SignedChain", needsIfMatch: true,
                    answer: .ok("RevocationsRecord", hasETag: true), problems: [409, 422])
            ) {
                let record = try await service.setRevocations(
                    $0.tenant(), $0.decoded(), ifMatch: $0.ifMatch(), by: $0.principal())
                return try APIAnswer.json(record, etag: record.number)
            },
        ]
    }

    var audit: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/audit", .admin,
                Operation(
                    "listAudit", .audit, "Who changed what, oldest first.",
                    query: ["after_number", "limit", "of_tenant"], answer: .ok("AuditPage"))
            ) {
                let (_, limit) = try $0.page()
                let (after, tenant) = try Self.auditRange($0)
                return try APIAnswer.json(
                    await service.audit(
                        by: $0.principal(), after: after, limit: limit, tenant: tenant))
            },
            Route(
                .get, "/v1/audit/export", .admin, isStream: true,
                Operation(
                    "exportAudit", .audit, "The whole log, to be verified offline.",
                    query: ["after_number", "of_tenant"],
                    answer: .lines("AuditEntry", "One entry a line.")),
                handle: export),
        ]
    }

    @Sendable private func export(_ call: APICall) async throws -> Response {
        let service = service
        let principal = try call.principal()
        let (start, tenant) = try Self.auditRange(call)
        // The first page before the answer begins, so that whoever may not read is told so.
        let first = try await service.audit(
            by: principal, after: start, limit: Self.exportPage, tenant: tenant)
        return APIAnswer.lines { writer in
            var page = first
            while !page.items.isEmpty {
                var lines = ByteBuffer()
                for entry in page.items {
                    lines.writeBytes(try APIJSON.encode(entry))
                    lines.writeString("\n")
                }
                try await writer.write(lines)
                guard let last = page.items.last, page.next != nil else { break }
                page = try await service.audit(
                    by: principal, after: last.number, limit: Self.exportPage, tenant: tenant)
            }
            try await writer.finish(nil)
        }
    }

    private static func auditRange(_ call: APICall) throws -> (after: Int64, tenant: Name?) {
        let after = try call.query.integer("after", in: 0...TrustLimits.integerMax) ?? 0
        guard let text = try call.query.text("tenant") else { return (after, nil) }
        guard let tenant = Name(text) else {
            throw CoordinatorAPI.Problem.invalidRequest("tenant is not a tenant's name")
        }
        return (after, tenant)
    }

    private static var exportPage: Int { 500 }
}
