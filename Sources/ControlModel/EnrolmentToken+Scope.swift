import PacketFormats

extension EnrolmentToken {
    /// Whether `grant` is one that this token lets a node sign for itself.
    func checkScope(of grant: Grant) throws(Refusal) {
        guard grant.token == id else { throw Refusal(.tokenMismatch, "under token \(id)") }
        guard grant.tenant == tenant else {
            throw Refusal(.mixedTenant, "grant for \(grant.tenant), token of \(tenant)")
        }
        // Only its begin is bound here: a thief of an old token can write any time, but then his
        // grant ends, at the latest, `grantSeconds` after the token.
        guard grant.validity.from >= validity.from, grant.validity.from < validity.until else {
            throw Refusal(.issuedOutsideToken, "grant from \(grant.validity.from)")
        }
        guard grant.role == role else {
            throw Refusal(.roleOutOfScope, "\(grant.role.rawValue), token for \(role.rawValue)")
        }
        guard profiles.contains(grant.profile) else {
            throw Refusal(.profileOutOfScope, grant.profile.rawValue)
        }
        guard grant.ceiling.isWithin(ceiling) else {
            throw Refusal(.classOutOfScope, grant.ceiling.rawValue)
        }
        for address in grant.addresses where !addresses.contains(where: { $0.holds(address) }) {
            throw Refusal(.addressOutOfScope, "\(address)")
        }
        for route in grant.routes where !routes.contains(where: { $0.holds(route) }) {
            throw Refusal(.routeOutOfScope, "\(route)")
        }
        // Leaving a group can widen what a node may do as much as entering one.
        guard grant.groups == groups else { throw Refusal(.groupOutOfScope, "token \(id)") }
    }
}
