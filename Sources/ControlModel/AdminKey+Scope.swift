import Cryptography
import PacketFormats

extension AdminKey {
    /// Whether `grant` is no wider than what this key may grant.
    func checkScope(of grant: Grant) throws(Refusal) {
        try checkScope(tenant: grant.tenant, role: grant.role, ceiling: grant.ceiling)
        guard profiles.contains(grant.profile) else {
            throw Refusal(.profileOutOfScope, "\(grant.profile.rawValue) by \(key)")
        }
    }

    /// Whether this key may sign anything for a node of this kind.
    ///
    /// - Throws: `tenantOutOfScope`, `roleOutOfScope`, `classOutOfScope`.
    public func checkScope(tenant: Name, role: Role, ceiling: ClassCeiling) throws(Refusal) {
        guard tenants.includes(tenant) else {
            throw Refusal(.tenantOutOfScope, "\(tenant) by \(key)")
        }
        guard roles.contains(role) else {
            throw Refusal(.roleOutOfScope, "\(role.rawValue) by \(key)")
        }
        guard ceiling.isWithin(self.ceiling) else {
            throw Refusal(.classOutOfScope, "\(ceiling.rawValue) by \(key)")
        }
    }
}
