import ArgumentParser

struct Down: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a tunnel down that `up` brought up, as `wg-quick down` does.",
        discussion: """
            Takes what `up` was given. With SaveConfig = true the file is overwritten with the \
            tunnel's current state. For example:

              sudo branchline down wg0
            """)

    @Argument(
        help: ArgumentHelp(
            "Path of a configuration file, or an interface's name.", valueName: "file"),
        completion: .file(extensions: ["conf"]))
    var file: String

    func run() throws {
        if let joined = JoinedInterface.find(file) { return try stop(joined) }
        let configuration = try ConfigurationFile(file)
        try requireRoot(to: "take a tunnel down")
        try TakeDown(configuration).run()
        // The tunnel is down, whether or not this can be said.
        try? Console.output("\(configuration.interfaceName) is down")
    }

    private func stop(_ interface: JoinedInterface) throws {
        try requireRoot(to: "take a tunnel down")
        guard try interface.stop() else {
            throw Failure.failed("\(interface.name) is not up")
        }
        try? Console.output(
            "\(interface.name) is down; it stays joined, and `sudo branchline up "
                + "\(interface.name)` brings it back")
    }
}
