extension CoordinatorAPI {
    /// One entry of the audit log; `GET /v1/audit` lists them, `GET /v1/audit/export` streams all
    /// of them as JSON lines.
    public struct AuditEntry: Codable, Hashable, Sendable {
        /// 1, 2, 3 and so on, without gaps.
        public var number: Int64
        public var at: Int64
        /// As ``Identity/actor``, or `coordinator`.
        public var actor: String
        /// Such as `tenant.add`, `node.revoke`.
        public var action: String
        public var tenant: String?
        /// What was changed, such as a node's key.
        public var subject: String
        /// Never holds a secret.
        public var details: [String: String]
        /// Hash of the entry before; 64 zeros for the first.
        public var previous: String
        /// SHA-256 in hex over the entry: see ``AuditChain``.
        public var hash: String

        public init(
            number: Int64, at: Int64, actor: String, action: String, tenant: String?,
            subject: String, details: [String: String], previous: String, hash: String
        ) {
            self.number = number
            self.at = at
            self.actor = actor
            self.action = action
            self.tenant = tenant
            self.subject = subject
            self.details = details
            self.previous = previous
            self.hash = hash
        }
    }
}
