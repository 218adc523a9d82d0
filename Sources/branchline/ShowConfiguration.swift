import ArgumentParser
import WireGuardConfiguration

struct ShowConfiguration: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "showconf",
        abstract: "Print an interface's settings as a configuration file, private key included.",
        discussion: """
            The output suits `wg setconf` and, with Address added, `branchline up`. For example:

              (umask 077; sudo branchline showconf wg0 > wg0.conf)
            """)

    @Argument(
        help: "The interface's name.",
        completion: .custom { _, _, _ in InterfaceSocket.live().map(\.name) })
    var interface: String

    func run() throws {
        let status = try InterfaceSocket(name: interface).deviceStatus()
        var text = WireGuardFile(status).text
        try Console.write(wiping: &text)
    }
}
