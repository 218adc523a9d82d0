import ControlModel

/// The names of a tenant's nodes: each is one node's, until that was revoked or has left.
struct NodeNames {
    let tenant: Name
    let connection: any StorageConnection

    init(_ tenant: Name, _ connection: any StorageConnection) {
        self.tenant = tenant
        self.connection = connection
    }

    /// - Parameter node: Whose name it may be already.
    /// - Throws: `already_exists`.
    func require(_ name: String, for node: String) throws {
        let others = try connection.rows(
            """
            SELECT node FROM nodes WHERE tenant = ? AND name = ? AND node <> ?
                AND state NOT IN ('revoked', 'left') LIMIT 1
            """, [.text(tenant.text), .text(name), .text(node)])
        guard let other = try others.first?.text(0) else { return }
        throw CoordinatorAPI.Problem.alreadyExists(
            "node \(other) of tenant \(tenant) is called \(name): choose another name")
    }

    /// The name itself where it is free, otherwise the first free one of `name-2`, `name-3` and so
    /// on.
    ///
    /// - Complexity: O(nodes whose name begins so).
    func free(_ name: String) throws -> String {
        let base = String(name.prefix(Self.bytesMax - Self.suffixBytesMax))
        // The point follows the hyphen, and nothing in a name lies between them.
        let rows = try connection.rows(
            """
            SELECT name FROM nodes WHERE tenant = ? AND (name = ? OR name >= ? AND name < ?)
                AND state NOT IN ('revoked', 'left')
            """, [.text(tenant.text), .text(name), .text("\(base)-"), .text("\(base).")])
        let taken = Set(try rows.map { try $0.text(0) })
        guard taken.contains(name) else { return name }
        var number = 2
        while taken.contains("\(base)-\(number)") { number += 1 }
        return "\(base)-\(number)"
    }

    private static let bytesMax = 63
    /// A hyphen and six digits: more than a tenant has nodes.
    private static let suffixBytesMax = 7
}
