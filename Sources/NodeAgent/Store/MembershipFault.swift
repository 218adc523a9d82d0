public import LinuxNetworking

/// Why a membership on disk cannot be used.
public enum MembershipFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// There is none.
    case notJoined(path: String)
    case folder(PrivateFolder.Fault)
    /// A file was cut off or written by something else.
    case damaged(path: String, String)

    public var description: String {
        switch self {
        case .notJoined(let path):
            "\(path) holds no membership; join with `sudo branchline join TOKEN`"
        case .folder(let fault): "\(fault)"
        case .damaged(let path, let what):
            "\(path) is damaged (\(what)); bring the folder back from a backup, or take it away "
                + "with `sudo branchline leave --force` and join with a new token"
        }
    }
}
