import ControlModel
import Cryptography

extension CoordinatorService {
    /// What is due from time to time: reservations and tokens lapse, and what is kept in memory,
    /// such as when nodes were last seen, is written. The composition root calls it about every
    /// ten seconds, and once at the end.
    ///
    /// - Parameter isEnd: Whether all that is in memory must be written.
    public func maintain(isEnd: Bool = false) async throws {
        try await write(as: Self.ownActor) { transaction in
            try Self.lapseReservations(transaction)
            try Self.lapseTokens(transaction)
            try Self.lapsePublicKeys(transaction)
        }
        try await writeTokens()
        try await writePresences(isEnd: isEnd)
    }

    /// Gives addresses back that were reserved and not used.
    static func lapseReservations(_ transaction: Transaction) throws {
        let lapsed = try transaction.rows(
            """
            SELECT id, tenant FROM reservations WHERE expires_at <= ?
                ORDER BY expires_at LIMIT ?
            """, .integer(transaction.now), .integer(Int64(ServiceLimits.pageMax)))
        for row in lapsed {
            guard let tenant = Name(try row.text(1)) else { continue }
            let id = try row.text(0)
            try AddressTable(tenant, transaction.connection).release(.reservation(id))
            try transaction.execute("DELETE FROM reservations WHERE id = ?", .text(id))
            try Transaction(
                connection: transaction.connection, now: transaction.now, actor: ownActor
            ).audit("reservation.lapse", id, in: tenant)
        }
    }

    /// Gives addresses back of tokens that nobody can use any more, whatever his clock says.
    private static func lapseTokens(_ transaction: Transaction) throws {
        let lapsed = try transaction.rows(
            """
            SELECT id, tenant FROM tokens WHERE state = 'unused' AND expires_at <= ?
                ORDER BY expires_at LIMIT ?
            """, .integer(transaction.now - TrustLimits.skewSecondsMax),
            .integer(Int64(ServiceLimits.pageMax)))
        for row in lapsed {
            guard let tenant = Name(try row.text(1)) else { continue }
            let id = try row.text(0)
            try endToken(id, in: tenant, as: .expired, transaction)
            try transaction.audit("token.expire", id, in: tenant)
        }
    }

    /// Forgets WireGuard keys that ``NodeTable/claimKeys(of:)`` would give to anybody.
    private static func lapsePublicKeys(_ transaction: Transaction) throws {
        try transaction.execute(
            "DELETE FROM public_keys WHERE used_until <= ?",
            .integer(transaction.now - TrustLimits.skewSecondsMax))
    }

    /// An unused token ends without a node: its addresses and groups are free.
    static func endToken(
        _ id: String, in tenant: Name, as state: CoordinatorAPI.EnrolmentTokenRecord.State,
        _ transaction: Transaction
    ) throws {
        try transaction.execute(
            "UPDATE tokens SET state = ? WHERE id = ?", .text(state.rawValue), .text(id))
        try transaction.execute("DELETE FROM token_groups WHERE token = ?", .text(id))
        try transaction.execute(
            "UPDATE tenants SET unused_tokens = unused_tokens - 1 WHERE name = ?",
            .text(tenant.text))
        try AddressTable(tenant, transaction.connection).release(.token(id))
    }

    private func writeTokens() async throws {
        let used = presences.takeTokens()
        guard !used.isEmpty else { return }
        try await storage.write { connection in
            for (id, second) in used {
                try connection.execute(
                    "UPDATE api_tokens SET last_used_at = ? WHERE id = ?",
                    [.integer(second), .text(id)])
            }
        }
    }

    func writePresences(isEnd: Bool = false) async throws {
        let due = presences.takeDue(isUrgent: storage.isShared, isEnd: isEnd)
        for start in stride(from: 0, to: due.count, by: ServiceLimits.presencesPerWrite) {
            let part = due[start..<min(start + ServiceLimits.presencesPerWrite, due.count)]
            try await storage.write { connection in
                for (key, presence) in part {
                    let said = presence.hasReported
                    try connection.execute(
                        """
                        UPDATE nodes SET last_seen_at = COALESCE(?, last_seen_at),
                            applied_number = COALESCE(?, applied_number),
                            agent_version = COALESCE(?, agent_version),
                            tenant_revocations = COALESCE(?, tenant_revocations),
                            organisation_revocations = COALESCE(?, organisation_revocations),
                            refusals = COALESCE(?, refusals)
                            WHERE tenant = ? AND node = ?
                        """,
                        [
                            .integer(orNull: presence.lastSeenAt),
                            .integer(orNull: presence.appliedNumber),
                            .text(orNull: presence.agentVersion),
                            .integer(orNull: said ? presence.tenantRevocations : nil),
                            .integer(orNull: said ? presence.organisationRevocations : nil),
                            .text(orNull: said ? try JSONText.encode(presence.nodeRefusals) : nil),
                            .text(key.tenant.text), .text(key.node.base64URL),
                        ])
                }
            }
        }
    }

    /// In the audit log, for what happens by itself.
    static let ownActor = "coordinator"
}
