public import ControlModel

extension CoordinatorService {
    /// - Parameter after: An entry's number; what follows it is listed.
    /// - Parameter tenant: Only entries of this tenant; `nil` for all that the caller may see.
    public func audit(
        by principal: Principal, after: Int64, limit: Int, tenant: Name?
    ) async throws -> CoordinatorAPI.Page<CoordinatorAPI.AuditEntry> {
        try principal.check(.readAudit, in: tenant)
        let only = (tenant ?? principal.tenant)?.text
        return try await Self.page(storage, limit: limit, key: { "\($0.number)" }) {
            connection, count in
            let columns = """
                SELECT number, at_second, actor, action, tenant, subject, details, previous, hash
                    FROM audit_entries
                """
            // One query for both could not use the index of either.
            let rows = if let only {
                try connection.rows(
                    "\(columns) WHERE tenant = ? AND number > ? ORDER BY number LIMIT ?",
                    [.text(only), .integer(after), .integer(count)])
            } else {
                try connection.rows(
                    "\(columns) WHERE number > ? ORDER BY number LIMIT ?",
                    [.integer(after), .integer(count)])
            }
            return try rows.map { row in
                CoordinatorAPI.AuditEntry(
                    number: try row.integer(0), at: try row.integer(1), actor: try row.text(2),
                    action: try row.text(3), tenant: try row.textOrNil(4),
                    subject: try row.text(5), details: try JSONText.decode(try row.text(6)),
                    previous: try row.text(7), hash: try row.text(8))
            }
        }
    }
}
