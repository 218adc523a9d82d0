import ArgumentParser
import Gateway
import LinuxNetworking

struct Upgrade: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let the installed daemon take over from the one that runs, without a pause.",
        discussion: """
            Install the new version first. The new daemon goes on with the sockets, the interface \
            and the sessions of the running one: connections through the tunnel stay, and packets \
            wait for some milliseconds. If the new daemon cannot go on, the running one does. \
            Without names the interfaces of this network namespace are upgraded; a named one may \
            be in another, where the new daemon then runs too. For example:

              sudo branchline upgrade wg0
              sudo branchline upgrade              # every interface of this namespace
              sudo branchline upgrade --gateway    # all tenants of this machine's gateway
            """)

    @Option(
        name: .customLong("daemon"),
        help: ArgumentHelp("The program that takes over.", valueName: "program"),
        completion: .file())
    var daemon: String?

    @Flag(help: "The gateway of this machine, with all of its tenants.")
    var gateway = false

    @Argument(
        help: ArgumentHelp(
            "Names of interfaces. (default: all that branchlined serves in this network namespace)",
            valueName: "interface"))
    var interfaces: [String] = []

    func run() throws {
        try requireRoot(to: "upgrade a daemon")
        let program = try Daemon(choice: daemon)
        if gateway { return try upgradeGateway(program) }
        let daemons = try interfaces.isEmpty ? daemonsHere() : interfaces.map(daemon(of:))
        var failed: [String] = []
        for daemon in daemons {
            do {
                try daemon.upgrade(to: program)
            } catch {
                Console.error((error as? Failure)?.message ?? "\(daemon.interface): \(error)")
                failed.append(daemon.interface)
            }
        }
        guard failed.isEmpty else {
            throw Failure.failed(
                "not upgraded, and served as before: \(failed.joined(separator: ", "))")
        }
    }

    func validate() throws {
        if gateway, !interfaces.isEmpty {
            throw ValidationError("give names of interfaces, or --gateway")
        }
    }

    private func upgradeGateway(_ program: Daemon) throws {
        let folder = GatewayFolder.standard(stateFolder: environment("BRANCHLINE_STATE"))
        guard folder.isServed else {
            throw Failure.failed("no gateway runs; `branchline gateway start` starts it")
        }
        let code = try Program.run(program.path, ["--take-over", "--gateway", folder.path])
        guard code == 0 else {
            throw Failure.failed(
                "not upgraded, and served as before: the new program \(program.path) ended with "
                    + "status \(code)")
        }
    }

    /// Interfaces of other network namespaces are named, and left alone.
    private func daemonsHere() throws -> [RunningDaemon] {
        let here = try NetworkNamespace(path: "/proc/thread-self/ns/net")
        let daemons = RunningDaemon.all()
        let others = daemons.filter { $0.namespace != here }.map(\.interface)
        if !others.isEmpty {
            Console.error(
                "note: left alone in other network namespaces: "
                    + "\(others.joined(separator: ", ")); name one to upgrade it")
        }
        if others.count == daemons.count {
            throw Failure.failed("branchlined serves no interface here; `branchline up` starts it")
        }
        return daemons.filter { $0.namespace == here }
    }

    private func daemon(of interface: String) throws -> RunningDaemon {
        let socket = try InterfaceSocket(name: interface)
        if let daemon = RunningDaemon(of: interface) { return daemon }
        let folder = GatewayFolder.standard(stateFolder: environment("BRANCHLINE_STATE"))
        if folder.isServed, folder.read().contains(where: { $0.serves(interface) }) {
            throw Failure.badInput("\(interface) is a tenant of the gateway: use --gateway")
        }
        throw Failure.failed(
            socket.isLive
                ? "the program that serves \(interface) lets no newer one go on; restart it"
                : "no daemon serves \(interface)")
    }
}

extension GatewayFolder.Entry {
    fileprivate func serves(_ interface: String) -> Bool {
        (try? outcome.get())?.interface == interface
    }
}
