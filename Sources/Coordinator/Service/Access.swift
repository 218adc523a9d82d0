import ControlModel

/// What a caller may do, as one table.
enum Access {
    enum Operation: CaseIterable {
        case readOrganisation, changeOrganisation
        case readAPITokens, changeAPITokens
        case addTenant, removeTenant
        case readTenant, changeTenant
        case readAudit
    }

    /// - Parameter isBound: Whether the caller belongs to one tenant; then only operations on that
    ///   tenant and on the organisation count.
    static func allows(
        _ operation: Operation, to role: CoordinatorAPI.AccessRole, isBound: Bool
    ) -> Bool {
        switch (role, isBound) {
        case (.owner, false): true
        // An owner of one tenant is its admin.
        case (.owner, true), (.securityAdmin, true):
            switch operation {
            case .readOrganisation, .readTenant, .changeTenant, .readAudit: true
            case .changeOrganisation, .readAPITokens, .changeAPITokens, .addTenant, .removeTenant:
                false
            }
        case (.securityAdmin, false): false
        case (.auditor, _):
            switch operation {
            case .readOrganisation, .readTenant, .readAudit: true
            case .readAPITokens: !isBound
            case .changeOrganisation, .changeAPITokens, .addTenant, .removeTenant, .changeTenant:
                false
            }
        case (.observer, _):
            switch operation {
            case .readOrganisation, .readTenant: true
            case .readAPITokens: !isBound
            case .changeOrganisation, .changeAPITokens, .addTenant, .removeTenant, .changeTenant,
                .readAudit:
                false
            }
        }
    }
}

extension Principal {
    /// - Parameter tenant: Which the operation concerns, if it concerns one.
    /// - Throws: `forbidden`; `not_found` for a tenant that the caller may not know of.
    func check(_ operation: Access.Operation, in tenant: Name? = nil) throws {
        if let own = self.tenant, let tenant, own != tenant {
            throw CoordinatorAPI.Problem.notFound("there is no tenant \(tenant)")
        }
        guard Access.allows(operation, to: role, isBound: self.tenant != nil) else {
            throw CoordinatorAPI.Problem.forbidden(
                "the role \(role.rawValue) may not do this: use an API token that may")
        }
    }
}
