/// Which tenants can be served side by side: what is one's cannot be another's.
///
/// Of two that want the same, the one that is served keeps it; else the first by name has it.
public enum GatewayReview {
    /// - Parameter served: Tenants that are served, as they are.
    /// - Returns: Every tenant's definition or what is wrong with it.
    public static func review(
        _ entries: [GatewayFolder.Entry], served: [String: TenantDomain] = [:]
    ) -> [String: Result<TenantDomain, TenantFault>] {
        var outcomes: [String: Result<TenantDomain, TenantFault>] = [:]
        var claims: [Claim: String] = [:]
        let inOrder = entries.sorted { first, second in
            let isFirst = served[first.tenant] != nil, isSecond = served[second.tenant] != nil
            return isFirst == isSecond ? first.tenant < second.tenant : isFirst
        }
        for entry in inOrder {
            guard case .success(let domain) = entry.outcome else {
                outcomes[entry.tenant] = entry.outcome
                continue
            }
            let wanted = Claim.of(domain)
            if let taken = wanted.first(where: { claims[$0] != nil }), let owner = claims[taken] {
                outcomes[entry.tenant] = .failure(taken.fault(of: domain.tenant, owner: owner))
                continue
            }
            for claim in wanted { claims[claim] = domain.tenant }
            outcomes[entry.tenant] = .success(domain)
        }
        return outcomes
    }

    /// What only one tenant can have.
    private enum Claim: Hashable {
        case interface(String)
        case namespace(String)
        case table(UInt32)
        case vrf(String)
        case host
        case configuration(String)
        case membership(String)

        static func of(_ domain: TenantDomain) -> [Claim] {
            var claims: [Claim] = [.interface(domain.interface)]
            switch domain.place {
            case .namespace(let name):
                claims.append(.namespace(domain.place.namespaceName ?? name))
            case .table(let number): claims.append(.table(number))
            case .vrf(let device): claims.append(.vrf(device))
            case .host: claims.append(.host)
            }
            if let path = domain.configuration { claims.append(.configuration(path)) }
            if let path = domain.membership { claims.append(.membership(path)) }
            return claims
        }

        func fault(of tenant: String, owner: String) -> TenantFault {
            switch self {
            case .interface(let name):
                TenantFault(
                    .duplicateInterface,
                    "the interface \(name) is that of \(owner) already; give \(tenant) another one")
            case .namespace(let name): Self.place("the namespace \(name)", tenant, owner)
            case .table(let number): Self.place("the routing table \(number)", tenant, owner)
            case .vrf(let device): Self.place("the VRF \(device)", tenant, owner)
            case .host: Self.place("the host's own network", tenant, owner)
            case .configuration(let path): Self.source("the configuration \(path)", tenant, owner)
            case .membership(let path): Self.source("the membership \(path)", tenant, owner)
            }
        }

        private static func place(
            _ words: String, _ tenant: String, _ owner: String
        ) -> TenantFault {
            TenantFault(
                .duplicatePlace,
                "\(words) is the domain of \(owner) already; give \(tenant) one of its own")
        }

        private static func source(
            _ words: String, _ tenant: String, _ owner: String
        ) -> TenantFault {
            TenantFault(
                .duplicateSource,
                "\(words) is that of \(owner) already; keys are one tenant's alone")
        }
    }
}
