/// Why a request or an answer of the configuration protocol was refused.
///
/// Keys' values never appear in it.
public struct UAPIError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The error numbers that wireguard-go uses (its `ipc/uapi_unix.go`), with Linux's values, and
    /// EPERM.
    public enum Kind: Int32, Sendable, CaseIterable {
        /// EPERM, where wireguard-go says EADDRINUSE: the port or mark needs a privilege.
        case notPermitted = 1
        /// EIO: the connection broke in the middle, or the kernel failed.
        case inputOutput = 5
        /// EINVAL: a key or value that is not accepted.
        case invalid = 22
        /// ENOANO: none of the others.
        case unknown = 55
        /// EPROTO: not lines of `key=value`, or too large.
        case protocolViolation = 71
        /// EADDRINUSE: another program has the port; of wireguard-go, or the mark cannot be set.
        case addressInUse = 98
    }

    public let kind: Kind
    /// Line of the request, from 1; `nil` where the failure belongs to no line.
    public let line: Int?
    public let reason: String

    public init(_ kind: Kind, line: Int? = nil, _ reason: String) {
        self.kind = kind
        self.line = line
        self.reason = reason
    }

    /// What follows `errno=`: negated, as `wg` expects it and wireguard-go answers it.
    public var errorNumber: Int32 { -kind.rawValue }

    /// The whole answer to the failed request.
    public var answer: [UInt8] { Array("errno=\(errorNumber)\n\n".utf8) }

    public var description: String {
        guard let line else { return reason }
        return "line \(line): \(reason)"
    }
}
