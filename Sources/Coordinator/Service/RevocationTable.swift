import ControlModel

/// The newest list of each realm: a tenant's name, or nothing for the organisation.
enum RevocationTable {
    static func chain(_ realm: String, _ connection: any StorageConnection) throws -> String? {
        try connection.rows(
            "SELECT chain FROM revocation_lists WHERE realm = ?", [.text(realm)]
        ).first?.text(0)
    }

    static func record(
        _ realm: String, _ connection: any StorageConnection
    ) throws -> CoordinatorAPI.RevocationsRecord {
        let rows = try connection.rows(
            "SELECT chain, number FROM revocation_lists WHERE realm = ?", [.text(realm)])
        return CoordinatorAPI.RevocationsRecord(
            chain: try rows.first?.text(0), number: try rows.first?.integer(1) ?? 0)
    }
}
