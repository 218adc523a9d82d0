import ArgumentParser
import Glibc
import LinuxNetworking
import WireGuardConfiguration

/// The command line for everyone who uses Branchline.
@main
struct Branchline: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "branchline",
        abstract: "Encrypted tunnels for AI inference, compatible with WireGuard.",
        discussion: """
            Make a key, write a configuration file as for wg-quick, and bring the tunnel up:

              branchline genkey | tee private.key | branchline pubkey
              sudo branchline up wg0
              branchline status wg0

            Exit codes: 0 for success, 1 for a failure, 2 for bad input, 64 for wrong usage. \
            For completion in bash: branchline --generate-completion-script bash
            """,
        version: Release.version,
        subcommands: [
            GenerateKey.self, GeneratePresharedKey.self, DerivePublicKey.self, Up.self, Down.self,
            Show.self, ShowConfiguration.self, Status.self,
        ])

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let failure as Failure {
            Console.error("branchline: \(failure.message)")
            exit(withError: ExitCode(failure.kind.rawValue))
        } catch let error as NetlinkError {
            Console.error("branchline: \(error)")
            exit(withError: ExitCode.failure)
        } catch {
            exit(withError: error)
        }
    }
}
