public import SystemPackage

/// Why the UDP port cannot be served.
public enum UDPSocketError: Error, Equatable, CustomStringConvertible {
    case portInUse(UInt16)
    /// Binding or marking needs a privilege that the process lacks.
    case notPermitted(operation: String, Errno)
    case failed(operation: String, Errno)

    init(_ operation: String, _ error: Errno) {
        self =
            error == .notPermitted || error == .permissionDenied
            ? .notPermitted(operation: operation, error) : .failed(operation: operation, error)
    }

    public var description: String {
        switch self {
        case .portInUse(let port):
            return """
                UDP port \(port) is in use by another socket; choose another listen port or find \
                its owner with 'ss -lunp sport = :\(port)'
                """
        case .notPermitted(let operation, let errno):
            return "UDP socket: \(operation): \(errno); run as root or with CAP_NET_ADMIN"
        case .failed(let operation, let errno):
            return "UDP socket: \(operation) failed: \(errno)"
        }
    }
}
