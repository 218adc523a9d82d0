/// The shell commands of a configuration file.
struct Hooks {
    let interfaceName: String

    /// Runs each command with /bin/sh, `%i` replaced by the interface's name.
    ///
    /// - Throws: At the first one that fails.
    func run(_ commands: [String], as kind: String) throws {
        for command in commands {
            try Interruption.check()
            let expanded = command.replacing("%i", with: interfaceName)
            Console.error("[#] \(expanded)")
            let code = try Program.run("/bin/sh", ["-c", expanded])
            guard code == 0 else {
                throw Failure.failed(
                    "the \(kind) command ended with exit code \(code): \(expanded)")
            }
        }
    }
}
