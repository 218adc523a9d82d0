/// For which tenants a key may sign.
public enum TenantScope: Hashable, Sendable {
    case all
    /// At least one.
    case only(Set<Name>)

    public func includes(_ tenant: Name) -> Bool {
        switch self {
        case .all: true
        case .only(let tenants): tenants.contains(tenant)
        }
    }
}
