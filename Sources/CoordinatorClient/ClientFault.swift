/// Why a coordinator could not be asked; what it answered instead is a `CoordinatorAPI.Problem`.
public enum ClientFault: Error, Hashable, Sendable {
    /// The address is not `https://host[:port]`.
    case invalidAddress(String)
    /// The credential holds what no token holds. It is not repeated here.
    case invalidCredential
    /// No connection, or one that broke off.
    case unreachable(String)
    /// The server's key is not the pinned one.
    case pinMismatch
    /// No public certificate authority vouches for the server.
    case certificateRefused(String)
    /// Something else answers there.
    case notACoordinator(String)
    case timedOut
    case answerTooLarge
}

extension ClientFault: CustomStringConvertible {
    /// What went wrong and what to do next, in one sentence.
    public var description: String {
        switch self {
        case .invalidAddress(let text):
            "\(text) is not a coordinator's address; it looks like https://hq.example:8443"
        case .invalidCredential:
            "the API token or secret holds characters that none has; give it as it was printed"
        case .unreachable(let cause):
            "the coordinator cannot be reached (\(cause)); check its address, that it runs, and "
                + "the firewalls on the way"
        case .pinMismatch:
            "the server's key is not the pinned one; somebody may be in between, or the "
                + "coordinator got a new key: compare it with the one that "
                + "`branchline-coordinator serve` prints when it starts"
        case .certificateRefused(let cause):
            "the server's certificate is not accepted (\(cause)); pin the coordinator's own key, "
                + "or give it a certificate of a public authority"
        case .notACoordinator(let found):
            "what answers there is not a coordinator (\(found)); check the address and port"
        case .timedOut:
            "the coordinator did not answer in time; try again, and look at its log if it stays so"
        case .answerTooLarge:
            "the answer is larger than any coordinator's; check the address, and ask for less"
        }
    }
}
