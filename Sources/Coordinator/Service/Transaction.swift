import ControlModel
import Cryptography

/// One operation's transaction: its rows, its entry in the audit log, and what nodes hear of it.
struct Transaction {
    let connection: any StorageConnection
    /// In Unix seconds.
    let now: Int64
    let actor: String

    func execute(_ sql: String, _ arguments: SQLValue...) throws {
        try connection.execute(sql, arguments)
    }

    func rows(_ sql: String, _ arguments: SQLValue...) throws -> [SQLRow] {
        try connection.rows(sql, arguments)
    }

    /// Adds an entry to the audit log.
    func audit(
        _ action: String, _ subject: String, in tenant: Name? = nil,
        _ details: [String: String] = [:]
    ) throws {
        let last = try rows("SELECT number, hash FROM audit_entries ORDER BY number DESC LIMIT 1")
        var entry = CoordinatorAPI.AuditEntry(
            number: try last.first?.integer(0) ?? 0, at: now, actor: actor, action: action,
            tenant: tenant?.text, subject: subject, details: details,
            previous: try last.first?.text(1) ?? AuditChain.beginning, hash: "")
        entry.number += 1
        entry.hash = AuditChain.hash(of: entry)
        try execute(
            """
            INSERT INTO audit_entries
                (number, at_second, actor, action, tenant, subject, details, previous, hash)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            .integer(entry.number), .integer(entry.at), .text(entry.actor), .text(action),
            .text(orNull: entry.tenant), .text(subject), .text(try JSONText.encode(details)),
            .text(entry.previous), .text(entry.hash))
    }

    /// Tells nodes of a tenant that something changed.
    func publish(
        _ change: CoordinatorAPI.NetworkChange, to audience: StoredChange.Audience,
        in tenant: String
    ) throws {
        let isForGateways = audience == .all || audience == .gateways
        let payload = try APIJSON.encode(change)
        let number = try rows(
            """
            UPDATE tenants SET change_number = change_number + 1,
                gateway_number = CASE WHEN ? = 1 THEN change_number + 1 ELSE gateway_number END
                WHERE name = ? RETURNING change_number
            """, .integer(isForGateways ? 1 : 0), .text(tenant))
        guard let number = try number.first?.integer(0) else {
            throw CoordinatorAPI.Problem.internal("a change of no tenant")
        }
        try execute(
            "INSERT INTO changes (tenant, number, audience, payload) VALUES (?, ?, ?, ?)",
            .text(tenant), .integer(number), .text(audience.text), .bytes(payload))
        if number % Self.pruneEvery == 0 {
            try execute(
                "DELETE FROM changes WHERE tenant = ? AND number <= ?", .text(tenant),
                .integer(number - ServiceLimits.changesKept))
        }
        try connection.announce(tenant: tenant)
    }

    /// Tells all nodes of all tenants.
    func publishEverywhere(_ change: CoordinatorAPI.NetworkChange) throws {
        for row in try rows("SELECT name FROM tenants ORDER BY name") {
            try publish(change, to: .all, in: try row.text(0))
        }
    }

    /// - Throws: `not_found`.
    func tenant(_ name: Name) throws -> TenantRow { try TenantRow.find(name, connection) }

    /// - Throws: `limit_reached`.
    func checkRoom(_ count: Int64, _ limit: Int64, _ what: String) throws {
        guard count < limit else {
            throw CoordinatorAPI.Problem.limitReached(
                "there are \(limit) \(what), which is the most")
        }
    }

    /// Deletes rarely, and many at once.
    private static let pruneEvery: Int64 = 64
}

extension SQLValue {
    static func text(orNull text: String?) -> SQLValue { text.map(SQLValue.text) ?? .null }
    static func integer(orNull number: Int64?) -> SQLValue {
        number.map(SQLValue.integer) ?? .null
    }
    static func flag(_ isSet: Bool) -> SQLValue { .integer(isSet ? 1 : 0) }
}

/// JSON in a text column.
enum JSONText {
    static func encode(_ value: some Encodable) throws -> String {
        String(decoding: try APIJSON.encode(value), as: UTF8.self)
    }

    static func decode<Value: Decodable>(_ text: String) throws -> Value {
        try APIJSON.decode(from: text.utf8)
    }
}

extension StoredChange.Audience {
    /// As the table has it.
    var text: String {
        switch self {
        case .all: "all"
        case .gateways: "gateways"
        case .others: "others"
        case .node(let key): key.base64URL
        }
    }

    init?(text: String) {
        switch text {
        case "all": self = .all
        case "gateways": self = .gateways
        case "others": self = .others
        default:
            guard let key = VerifyingKey(base64URL: text) else { return nil }
            self = .node(key)
        }
    }

    /// Whom it concerns that a node with this role comes, goes or changes: gateways peer with all
    /// others.
    static func peers(of role: String) -> Self {
        role == Role.gateway.rawValue ? .others : .gateways
    }
}
