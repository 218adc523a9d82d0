import ArgumentParser
import Cryptography
import LinuxNetworking
import PacketFormats

/// Thousands of WireGuard peers in one process, with real keys, handshakes and ciphers.
///
/// All keys follow from a seed, so whoever configures the gateway needs no list from here:
/// `peer-emulator configuration` writes the gateway's side of one tenant.
@main
struct PeerEmulator: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peer-emulator",
        abstract: "Emulates the peers of a gateway's tenants, for benchmarks.",
        discussion: """
            EXAMPLES:
              peer-emulator configuration --tenant 3 --peers 100 > t3.conf
              peer-emulator run 192.0.2.1:51820 --tenants 100 --peers 100
            """,
        subcommands: [Configuration.self, Keys.self, Run.self])
}

/// What a peer and its gateway must agree on.
struct IdentityOptions: ParsableArguments {
    @Option(help: "Any text; keys follow from it.")
    var seed = "branchline benchmark"

    @Option(help: "Peers of each tenant.")
    var peers = 100

    func validate() throws {
        guard (1...Identities.peersMax).contains(peers) else {
            throw ValidationError("--peers takes 1 to \(Identities.peersMax)")
        }
    }

    var identities: Identities { Identities(seed: seed) }
}

struct Configuration: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the gateway's WireGuard configuration of one tenant.")

    @OptionGroup var options: IdentityOptions
    @Option(help: "Number of the tenant, from 0.") var tenant = 0

    func run() {
        let identities = options.identities
        var text = "[Interface]\nPrivateKey = \(identities.gatewayKeyText(of: tenant))\n"
        for peer in 0..<options.peers {
            let key = identities.peerKey(tenant: tenant, peer: peer).publicKey
            text += "\n[Peer]\nPublicKey = \(key)\n"
            text += "AllowedIPs = \(Identities.address(of: peer))/32\n"
        }
        print(text, terminator: "")
    }
}

struct Keys: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print public keys of peers, one a line, from --first on.")

    @OptionGroup var options: IdentityOptions
    @Option(help: "Number of the tenant, from 0.") var tenant = 0
    @Option(help: "Number of the first peer.") var first = 0

    func run() {
        for peer in first..<first + options.peers {
            print(options.identities.peerKey(tenant: tenant, peer: peer).publicKey)
        }
    }
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run peers; take commands from standard input, one a line.",
        discussion: """
            Each command is answered by one line, a JSON object. Between commands the peers answer
            and renew their sessions.

            COMMANDS (words in brackets may be left out; TENANTS is like 0-99 or 3):
              handshake tenants=TENANTS [window=64] [patience=20]
                  make sessions, `window` at a time; a peer that has one is left alone
              renew tenants=TENANTS seconds=S [window=8]
                  make new sessions one after another, `window` at a time
              send tenants=TENANTS [peers=N] size=BYTES|cycle rate=PPS|0 seconds=S
                       [burst=1] [flows=one|many|new]
                  inner UDP packets to port 7000 of the tenant's gateway, from the first N peers of
                  each tenant by turns; 0 sends all it can; `cycle`: each packet is longer than the
                  one before, so that none can share a segmentation send; `new`: each is a new flow
              flood tenants=TENANTS kind=handshakes|forged rate=PPS|0 seconds=S
                  initiations: of the peers, one after another, or garbage with a valid mac1
              idle seconds=S
              counts
              quit
            """)

    @OptionGroup var options: IdentityOptions
    @Option(help: "Tenants, numbered from --first-tenant.") var tenants = 1
    @Option(help: "Number of the first tenant.") var firstTenant = 0
    @Option(help: "UDP ports that the peers are spread over.") var ports = 64
    @Option(help: "What peers speak: wireguard, branchline-aes256gcm, ...")
    var profile = TunnelProfile.wireguard.rawValue
    @Argument(help: "The gateway's address and port, as 192.0.2.1:51820.") var gateway: String

    func validate() throws {
        guard Endpoint(gateway) != nil else {
            throw ValidationError("'\(gateway)' is no address with a port")
        }
        guard TunnelProfile(rawValue: profile) != nil else {
            throw ValidationError("'\(profile)' is no profile")
        }
        guard tenants > 0, (1...1_000).contains(ports) else {
            throw ValidationError("--tenants takes 1 or more, --ports 1 to 1000")
        }
    }

    func run() throws {
        guard let endpoint = Endpoint(gateway), let profile = TunnelProfile(rawValue: profile)
        else { return }
        let emulator = try Emulator(
            identities: options.identities, gateway: endpoint,
            tenants: firstTenant..<firstTenant + tenants, peersPerTenant: options.peers,
            portCount: min(ports, tenants * options.peers), profile: profile)
        var commands = CommandLoop(emulator)
        try commands.run()
    }
}
