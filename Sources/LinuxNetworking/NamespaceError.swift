public import SystemPackage

/// What is wrong with a network namespace; each description says what to do about it.
public enum NamespaceError: Error, Equatable {
    case invalidName(String, reason: String)
    /// There is one of that name, or a file in its place.
    case exists(name: String)
    case missing(path: String)
    /// What is there stands for something else.
    case wrongKind(path: String)
    /// It was there; since then it was removed, or another one took its place.
    case vanished(path: String)
    case notPermitted(operation: String, Errno)
    case failed(operation: String, Errno)

    init(_ operation: String, _ error: Errno) {
        let isPrivilege = error == .notPermitted || error == .permissionDenied
        self =
            isPrivilege
            ? .notPermitted(operation: operation, error)
            : .failed(operation: operation, error)
    }
}

extension NamespaceError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidName(let name, let reason):
            "'\(name)' cannot name a network namespace: \(reason)"
        case .exists(let name):
            "there is a network namespace \(name) already; use it, or choose another name"
        case .missing(let path):
            "there is no network namespace \(path); make it with 'ip netns add'"
        case .wrongKind(let path):
            "\(path) is no network namespace"
        case .vanished(let path):
            "the network namespace \(path) is not there any more, or another one in its place"
        case .notPermitted(let operation, let errno):
            """
            not allowed to \(operation): \(errno); run as root or with CAP_SYS_ADMIN and \
            CAP_NET_ADMIN
            """
        case .failed(let operation, let errno):
            "cannot \(operation): \(errno)"
        }
    }
}
