/// Why a configuration file was refused.
///
/// Keys' values never appear in it.
public struct WireGuardFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// From 1.
    public let line: Int
    /// The setting as the documentation spells it; `nil` where the line has none.
    public let key: String?
    public let reason: String
    /// What would be accepted in its place.
    public let accepted: String

    public init(line: Int, key: String? = nil, reason: String, accepted: String) {
        self.line = line
        self.key = key
        self.reason = reason
        self.accepted = accepted
    }

    public var description: String {
        "line \(line): " + (key.map { "\($0) " } ?? "") + "\(reason); accepted: \(accepted)"
    }
}
