extension CoordinatorAPI {
    /// `POST /v1/organisation`, once in a coordinator's life, with its set-up code.
    public struct OrganisationSetup: Codable, Hashable, Sendable {
        /// What the coordinator wrote to its state folder at first start.
        public var setupCode: String
        /// The root's public key.
        public var root: String
        /// The first admin's key, as the root signed it.
        public var admin: String
        /// What to call the owner's API token.
        public var tokenName: String

        public init(setupCode: String, root: String, admin: String, tokenName: String) {
            self.setupCode = setupCode
            self.root = root
            self.admin = admin
            self.tokenName = tokenName
        }
    }

    /// `GET /v1/organisation`.
    public struct Organisation: Codable, Hashable, Sendable {
        public var root: String
        /// Signed, oldest first.
        public var rollovers: [String]
        public var admins: [Admin]
        /// The organisation's newest revocation list as a chain (``StatementChain/text``).
        public var revocations: String?
        public var createdAt: Int64

        public init(
            root: String, rollovers: [String], admins: [Admin], revocations: String?,
            createdAt: Int64
        ) {
            self.root = root
            self.rollovers = rollovers
            self.admins = admins
            self.revocations = revocations
            self.createdAt = createdAt
        }
    }

    /// An admin's key as the root signed it, with its claims for display.
    public struct Admin: Codable, Hashable, Sendable {
        public var key: String
        /// The signed statement; others believe this alone.
        public var statement: String
        /// `nil` for all tenants.
        public var tenants: [String]?
        public var roles: [String]
        public var mayRevoke: Bool
        public var validFrom: Int64
        public var validUntil: Int64
        public var isRevoked: Bool

        public init(
            key: String, statement: String, tenants: [String]?, roles: [String], mayRevoke: Bool,
            validFrom: Int64, validUntil: Int64, isRevoked: Bool
        ) {
            self.key = key
            self.statement = statement
            self.tenants = tenants
            self.roles = roles
            self.mayRevoke = mayRevoke
            self.validFrom = validFrom
            self.validUntil = validUntil
            self.isRevoked = isRevoked
        }
    }

    /// `POST /v1/organisation/admins`, `POST /v1/organisation/rollovers`.
    public struct SignedStatement: Codable, Hashable, Sendable {
        public var statement: String

        public init(statement: String) { self.statement = statement }
    }

    /// `PUT .../revocations`, `PUT .../nodes/{node}/grant`, `PUT /v1/self/rotation`.
    public struct SignedChain: Codable, Hashable, Sendable {
        /// ``StatementChain/text``.
        public var chain: String

        public init(chain: String) { self.chain = chain }
    }

    /// What a caller of the admin interface may do.
    public enum AccessRole: String, Codable, CaseIterable, Hashable, Sendable {
        /// Everything, in every tenant.
        case owner
        /// Everything in one tenant.
        case securityAdmin = "security-admin"
        /// Reads everything, the audit log included.
        case auditor
        /// Reads all but the audit log; with a tenant, of that tenant only.
        case observer
    }

    /// `POST /v1/api-tokens`.
    public struct APITokenRequest: Codable, Hashable, Sendable {
        public var name: String
        public var role: AccessRole
        /// Required for `security-admin`, allowed for `auditor` and `observer`.
        public var tenant: String?
        public var expiresAt: Int64?

        public init(name: String, role: AccessRole, tenant: String?, expiresAt: Int64?) {
            self.name = name
            self.role = role
            self.tenant = tenant
            self.expiresAt = expiresAt
        }
    }

    /// The only answer that ever holds an API token.
    public struct APITokenSecret: Codable, Hashable, Sendable {
        /// `bla_` and 43 characters.
        public var secret: String
        public var token: APIToken

        public init(secret: String, token: APIToken) {
            self.secret = secret
            self.token = token
        }
    }

    public struct APIToken: Codable, Hashable, Sendable {
        public var id: String
        public var name: String
        public var role: AccessRole
        public var tenant: String?
        public var createdAt: Int64
        public var expiresAt: Int64?
        public var lastUsedAt: Int64?

        public init(
            id: String, name: String, role: AccessRole, tenant: String?, createdAt: Int64,
            expiresAt: Int64?, lastUsedAt: Int64?
        ) {
            self.id = id
            self.name = name
            self.role = role
            self.tenant = tenant
            self.createdAt = createdAt
            self.expiresAt = expiresAt
            self.lastUsedAt = lastUsedAt
        }
    }

    /// `GET /v1/me`: who the coordinator takes the caller for.
    public struct Identity: Codable, Hashable, Sendable {
        /// `api-token:ID`, `oidc:ISSUER SUBJECT` or `node:KEY`.
        public var actor: String
        public var role: AccessRole?
        public var tenant: String?

        public init(actor: String, role: AccessRole?, tenant: String?) {
            self.actor = actor
            self.role = role
            self.tenant = tenant
        }
    }
}
