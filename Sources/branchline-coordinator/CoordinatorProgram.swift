import ArgumentParser

/// The peer coordinator.
@main
struct CoordinatorProgram: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "branchline-coordinator",
        abstract: "Stores and distributes who is in the network; security admins sign it.",
        discussion: """
            Every option can be given as an environment variable, too: BRANCHLINE_COORDINATOR_ and \
            the option's name in capitals, with underscores for hyphens.

            Exit codes: 0 it did what was asked, or was told to stop; 3 the database cannot be \
            used or is damaged; 4 the state folder, a file, a certificate or the address to \
            listen on cannot be used; 64 the command line is wrong; 1 anything else.
            """,
        version: version,
        subcommands: [
            Serve.self, Backup.self, Restore.self, Check.self, OwnerToken.self, Version.self,
        ],
        defaultSubcommand: Serve.self)

    static let version = "0.1.0"
}

/// Prints the version.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() { print("branchline-coordinator \(CoordinatorProgram.version)") }
}
