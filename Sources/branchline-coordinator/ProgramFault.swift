import ArgumentParser
import Foundation

/// Why the program ends, with the exit code that says what kind of thing it is.
struct ProgramFault: Error, Hashable {
    enum Code: Int32 {
        /// The database cannot be used, or is damaged.
        case storage = 3
        /// The state folder, a file, a certificate or the address to listen on cannot be used.
        case unusable = 4
    }

    let description: String
    let code: Code

    init(_ description: String, code: Code) {
        self.description = description
        self.code = code
    }

    /// Tells whoever started the program.
    func exit() -> ExitCode {
        FileHandle.standardError.write(Data("branchline-coordinator: \(description)\n".utf8))
        return ExitCode(code.rawValue)
    }
}
