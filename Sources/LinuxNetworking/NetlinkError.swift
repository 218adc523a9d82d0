public import SystemPackage

/// A refused rtnetlink request.
public struct NetlinkError: Error, Equatable, CustomStringConvertible {
    /// What was wanted: "add route 10.0.0.0/8 to wg0".
    public let operation: String
    public let errno: Errno
    /// The kernel's own words (NETLINK_EXT_ACK), where it has any.
    public let explanation: String?

    public init(operation: String, errno: Errno, explanation: String? = nil) {
        self.operation = operation
        self.errno = errno
        self.explanation = explanation
    }

    public var description: String {
        let reason = explanation.map { "\($0) (\(errno))" } ?? "\(errno)"
        return "cannot \(operation): \(reason)"
    }
}
