import ArgumentParser
import NodeAgent

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring a tunnel up: of a configuration file, as `wg-quick up`, or a joined one.",
        discussion: """
            A name such as wg0 stands for /etc/wireguard/wg0.conf, then /etc/branchline/wg0.conf. \
            The file's name without .conf is the interface's name. For example:

              sudo branchline up wg0
              sudo branchline up ./office.conf
              sudo branchline up bl0

            The format is that of wg-quick(8): Address, DNS, MTU, Table, PreUp, PostUp, PreDown, \
            PostDown and SaveConfig beside the settings of wg(8). A [Peer] that runs branchlined, \
            too, may have `Profile = branchline`, for a post-quantum handshake, and `Cipher = \
            AES-256-GCM` (the default) or `Cipher = ChaCha20-Poly1305`; both ends must say the \
            same. If a step fails, the steps before it are undone.
            """)

    @Argument(
        help: ArgumentHelp(
            "Path of a configuration file, or an interface's name.", valueName: "file"),
        completion: .file(extensions: ["conf"]))
    var file: String

    @Option(
        help: ArgumentHelp(
            "The program that serves the interface: by default $BRANCHLINED, then branchlined "
                + "beside this program, then in PATH.", valueName: "path"))
    var daemon: String?

    func run() throws {
        if let joined = JoinedInterface.find(file) {
            try requireRoot(to: "bring a tunnel up")
            return try start(joined)
        }
        let configuration = try ConfigurationFile(file)
        try requireRoot(to: "bring a tunnel up")
        var bringUp = try BringUp(configuration, daemon: Daemon(choice: daemon))
        try bringUp.run()
        // The tunnel is up, whether or not this can be said.
        try? Console.output(
            "\(configuration.interfaceName) is up; see `branchline status "
                + "\(configuration.interfaceName)`")
    }

    private func start(_ interface: JoinedInterface) throws {
        Interruption.arm()
        try interface.start(Daemon(choice: daemon))
        let status = try interface.awaitForce()
        let detail = status.stateDetail.map { ": \($0)" } ?? ""
        try? Console.output(
            status.isInForce
                ? "\(interface.name) is up in \(status.tenant); see `branchline status "
                    + "\(interface.name)`"
                : "\(interface.name) runs, but is \(status.state) in \(status.tenant)\(detail)")
    }
}
