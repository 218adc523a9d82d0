public import ControlModel

/// An authenticated caller of the admin interface.
public struct Principal: Hashable, Sendable {
    /// As `CoordinatorAPI.Identity.actor`: `api-token:ID` or `oidc:ISSUER SUBJECT`.
    public var actor: String
    public var role: CoordinatorAPI.AccessRole
    /// The only tenant that the caller may know of; `nil` for all, where the role allows it.
    public var tenant: Name?

    public init(actor: String, role: CoordinatorAPI.AccessRole, tenant: Name?) {
        self.actor = actor
        self.role = role
        self.tenant = tenant
    }
}
