/// The shell commands of a configuration file.
struct Hooks {
    let interfaceName: String

    /// Runs each command with /bin/sh, `%i` replaced by the interface's name.
    ///
    /// - Parameter stopsAtFailure: Whether a command that fails ends the rest; else it is noted.
    /// - Throws: At the first one that fails, if that stops.
    func run(_ commands: [String], as kind: String, stopsAtFailure: Bool = true) throws {
        for command in commands {
            try Interruption.check()
            let expanded = command.replacing("%i", with: interfaceName)
            Console.error("[#] \(expanded)")
            let code = try Program.run("/bin/sh", ["-c", expanded])
            if code == 0 { continue }
            let message = "the \(kind) command ended with exit code \(code): \(expanded)"
            if stopsAtFailure { throw Failure.failed(message) }
            Console.error("note: \(message)")
        }
    }
}
