/// What a signed statement says, by the `typ` of its protected header.
///
/// Explicit types keep a statement of one kind from passing for another.
///
/// Source: RFC 8725, section 3.11.
public enum StatementKind: String, CaseIterable, Hashable, Sendable {
    case rollover = "branchline-rollover"
    case admin = "branchline-admin"
    case token = "branchline-token"
    /// A grant by an admin.
    case grant = "branchline-grant"
    /// A grant that a node signed for itself with a token's key.
    case joinGrant = "branchline-join"
    case rotation = "branchline-rotation"
    case revocations = "branchline-revocations"

    /// Size of the whole text.
    var bytesMax: Int {
        self == .revocations
            ? TrustLimits.revocationListBytesMax : TrustLimits.statementBytesMax
    }
}
