import ControlModel
import HTTPTypes
import Hummingbird

extension CoordinatorRoutes {
    var tenants: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/tenants", .admin,
                Operation(
                    "listTenants", .tenants, "Tenants, by name.", query: ["after", "limit"],
                    answer: .ok("TenantPage"))
            ) {
                let (after, limit) = try $0.page()
                return try APIAnswer.json(
                    await service.tenants(by: $0.principal(), after: after, limit: limit))
            },
            Route(
                .post, "/v1/tenants", .admin, body: .json,
                Operation(
                    "addTenant", .tenants, "Adds a tenant with its address pools.",
                    request: "TenantRequest", answer: .created("Tenant", hasETag: true),
                    problems: [409])
            ) {
                let tenant = try await service.addTenant($0.decoded(), by: $0.principal())
                return try APIAnswer.json(tenant, status: .created, etag: tenant.revision)
            },
            Route(
                .get, "/v1/tenants/{tenant}", .admin,
                Operation(
                    "getTenant", .tenants, "One tenant.", answer: .ok("Tenant", hasETag: true))
            ) {
                let tenant = try await service.tenant($0.tenant(), by: $0.principal())
                return try APIAnswer.json(tenant, etag: tenant.revision)
            },
            Route(
                .delete, "/v1/tenants/{tenant}", .admin,
                Operation(
                    "deleteTenant", .tenants,
                    "Forgets a tenant, once its nodes have left or were revoked.",
                    needsIfMatch: true, answer: .nothing(), problems: [409])
            ) {
                try await service.deleteTenant(
                    $0.tenant(), ifMatch: $0.ifMatch(), by: $0.principal())
                return APIAnswer.nothing()
            },
        ]
    }

    var pools: [Route] {
        let service = service
        return [
            Route(
                .post, "/v1/tenants/{tenant}/pools", .admin, body: .json,
                Operation(
                    "addPool", .tenants, "Adds a network that addresses come from.",
                    request: "PoolRequest", answer: .created("Tenant", hasETag: true),
                    problems: [409])
            ) {
                let tenant = try await service.addPool(
                    $0.tenant(), $0.decoded(), by: $0.principal())
                return try APIAnswer.json(tenant, status: .created, etag: tenant.revision)
            },
            Route(
                .delete, "/v1/tenants/{tenant}/pools/{address}/{length}", .admin,
                Operation(
                    "removePool", .tenants, "Takes away a pool that nobody has an address of.",
                    answer: .ok("Tenant", hasETag: true), problems: [409])
            ) {
                let tenant = try await service.removePool(
                    $0.tenant(), $0.pool(), by: $0.principal())
                return try APIAnswer.json(tenant, etag: tenant.revision)
            },
            Route(
                .post, "/v1/tenants/{tenant}/reservations", .admin, body: .json,
                Operation(
                    "reserve", .tenants,
                    "Holds one address of each family for a token that is about to be signed.",
                    request: "ReservationRequest", answer: .created("Reservation"),
                    problems: [409])
            ) {
                try APIAnswer.json(
                    await service.reserve($0.tenant(), $0.decoded(), by: $0.principal()),
                    status: .created)
            },
        ]
    }

    var tokens: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/tenants/{tenant}/tokens", .admin,
                Operation(
                    "listTokens", .joining, "Enrolment tokens.", query: ["after", "limit"],
                    answer: .ok("EnrolmentTokenPage"))
            ) {
                let (after, limit) = try $0.page()
                return try APIAnswer.json(
                    await service.tokens(
                        $0.tenant(), by: $0.principal(), after: after, limit: limit))
            },
            Route(
                .post, "/v1/tenants/{tenant}/tokens", .admin, body: .json,
                Operation(
                    "addToken", .joining, "Registers a signed enrolment token.",
                    request: "EnrolmentTokenRequest", answer: .created("EnrolmentTokenRecord"),
                    problems: [409, 422])
            ) {
                try APIAnswer.json(
                    await service.addToken($0.tenant(), $0.decoded(), by: $0.principal()),
                    status: .created)
            },
            Route(
                .delete, "/v1/tenants/{tenant}/tokens/{token}", .admin,
                Operation(
                    "revokeToken", .joining, "Withdraws a token that nobody used yet.",
                    answer: .nothing(), problems: [409])
            ) {
                try await service.revokeToken($0.tenant(), $0.tokenID(), by: $0.principal())
                return APIAnswer.nothing()
            },
        ]
    }

    var groups: [Route] {
        let service = service
        return [
            Route(
                .get, "/v1/tenants/{tenant}/groups", .admin,
                Operation(
                    "listGroups", .policies, "Groups, by name.", query: ["after", "limit"],
                    answer: .ok("GroupPage"))
            ) {
                let (after, limit) = try $0.page()
                return try APIAnswer.json(
                    await service.groups(
                        $0.tenant(), by: $0.principal(), after: after, limit: limit))
            },
            Route(
                .post, "/v1/tenants/{tenant}/groups", .admin, body: .json,
                Operation(
                    "addGroup", .policies, "Adds a group that policies and grants may name.",
                    request: "GroupRequest", answer: .created("Group"), problems: [409])
            ) {
                try APIAnswer.json(
                    await service.addGroup($0.tenant(), $0.decoded(), by: $0.principal()),
                    status: .created)
            },
            Route(
                .delete, "/v1/tenants/{tenant}/groups/{group}", .admin,
                Operation(
                    "removeGroup", .policies, "Removes a group that nothing names.",
                    answer: .nothing(), problems: [409])
            ) {
                try await service.removeGroup($0.tenant(), $0.group(), by: $0.principal())
                return APIAnswer.nothing()
            },
        ]
    }
}
