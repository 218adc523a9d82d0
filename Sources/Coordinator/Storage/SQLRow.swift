import ControlModel

/// One row of an answer; columns by position, in the order of the `SELECT`.
public struct SQLRow: Hashable, Sendable {
    private let values: [SQLValue]

    public init(_ values: [SQLValue]) { self.values = values }

    public subscript(column: Int) -> SQLValue {
        values.indices.contains(column) ? values[column] : .null
    }

    /// - Throws: `internal` where the column holds something else, which no statement of ours
    ///   leads to.
    public func integer(_ column: Int) throws -> Int64 {
        guard case .integer(let number) = self[column] else { throw Self.fault(column, "integer") }
        return number
    }

    public func text(_ column: Int) throws -> String {
        guard case .text(let text) = self[column] else { throw Self.fault(column, "text") }
        return text
    }

    public func bytes(_ column: Int) throws -> [UInt8] {
        guard case .bytes(let bytes) = self[column] else { throw Self.fault(column, "bytes") }
        return bytes
    }

    public func integerOrNil(_ column: Int) throws -> Int64? {
        self[column] == .null ? nil : try integer(column)
    }

    public func textOrNil(_ column: Int) throws -> String? {
        self[column] == .null ? nil : try text(column)
    }

    private static func fault(_ column: Int, _ wanted: String) -> CoordinatorAPI.Problem {
        .internal("column \(column) of an answer is no \(wanted)")
    }
}
