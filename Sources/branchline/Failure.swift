/// Why a command ended without success, in a sentence that says what to do next.
struct Failure: Error {
    /// The raw value is the program's exit code.
    enum Kind: Int32 {
        case failed = 1
        /// The input itself is wrong: doing the same again cannot succeed.
        case badInput = 2
        /// Those of `bench`, so that a script can tell whom to ask.
        case unreachable = 3
        case refused = 4
        case busy = 5
        case protocolMismatch = 6
        /// 128 and the number of SIGINT, as shells have it.
        case interrupted = 130
    }

    let kind: Kind
    let message: String

    /// What went wrong outside of the input.
    static func failed(_ message: String) -> Failure {
        Failure(kind: .failed, message: message)
    }

    static func badInput(_ message: String) -> Failure {
        Failure(kind: .badInput, message: message)
    }
}
