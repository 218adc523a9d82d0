import ArgumentParser
import Glibc
import LinuxNetworking
import WireGuardConfiguration

/// The command line for everyone who uses Branchline.
@main
struct Branchline: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "branchline",
        abstract: "Encrypted tunnels for AI inference, compatible with WireGuard.",
        discussion: """
            Join a network with the token that its security admin gave you:

              sudo branchline join bl1~...
              branchline status

            Or make a key, write a configuration file as for wg-quick, and bring the tunnel up:

              branchline genkey | tee private.key | branchline pubkey
              sudo branchline up wg0
              branchline status wg0

            Or run a gateway with many tenants, each in a network of its own:

              sudo branchline gateway add acme --configuration /etc/branchline/acme.conf
              sudo branchline gateway start

            Or run a coordinator, and let nodes join with a token:

              branchline admin init https://hq.example:8443
              branchline tenant add acme --pool 10.64.0.0/16
              branchline token create --tenant acme --role branch

            Exit codes: 0 for success, 1 for a failure, 2 for bad input, 64 for wrong usage. \
            For completion in bash: branchline --generate-completion-script bash
            """,
        version: Release.version,
        subcommands: [
            Join.self, Leave.self, GenerateKey.self, GeneratePresharedKey.self,
            DerivePublicKey.self, Up.self, Down.self, Upgrade.self, Show.self,
            ShowConfiguration.self, Status.self, KeysCommand.self, GatewayCommand.self,
            AdminCommand.self, TenantCommand.self, TokenCommand.self, NodeCommand.self,
            GroupCommand.self, PolicyCommand.self, QoSCommand.self, TraceCommand.self,
            BenchCommand.self, AuditCommand.self,
        ])

    static func main() async {
        do {
            var command = try parseAsRoot(
                KeyText.marking(Array(CommandLine.arguments.dropFirst())))
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let failure as Failure {
            Console.error("branchline: \(Text.plain(failure.message))")
            exit(withError: ExitCode(failure.kind.rawValue))
        } catch let error as NetlinkError {
            Console.error("branchline: \(error)")
            exit(withError: ExitCode.failure)
        } catch {
            exit(withError: error)
        }
    }
}
