/// Why a command ended without success, in a sentence that says what to do next.
struct Failure: Error {
    enum Kind: Int32 {
        case failed = 1
        /// The input itself is wrong: doing the same again cannot succeed.
        case badInput = 2
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
