import ArgumentParser
import PacketFormats
import WireGuardConfiguration

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show interfaces and their peers, as `wg show` does.",
        discussion: """
            Works with every program that serves /var/run/wireguard. For example:

              sudo branchline show wg0
              sudo branchline show --json | jq '.[].peers[].endpoint'

            \(InterfaceReport.jsonHelp)
            """)

    @Argument(
        help: "An interface's name, or all (the default), or interfaces for the names only.",
        completion: .custom { _, _, _ in
            InterfaceSocket.live().map(\.name) + ["all", "interfaces"]
        })
    var interface = "all"

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        switch interface {
        case "interfaces": try showNames()
        case "all": try show(InterfaceSocket.live(), isEveryOne: true)
        default: try show([InterfaceSocket(name: interface)], isEveryOne: false)
        }
    }

    private func showNames() throws {
        let names = InterfaceSocket.live().map(\.name)
        if json {
            let list = names.map { "\"\($0)\"" }.joined(separator: ",")
            try Console.output("[\(list)]")
        } else if !names.isEmpty {
            try Console.output(names.joined(separator: " "))
        }
    }

    private func show(_ sockets: [InterfaceSocket], isEveryOne: Bool) throws {
        let reports = try InterfaceReport.collect(sockets, skipsFailures: isEveryOne) { socket in
            InterfaceReport(name: socket.name, device: try socket.deviceStatus())
        }
        if json {
            try Console.output(InterfaceReport.json(reports))
        } else if !reports.isEmpty {
            try Console.output(reports.map { $0.asShown(now: Text.now) }.joined(separator: "\n\n"))
        }
    }
}

extension InterfaceReport {
    /// Asks each socket.
    ///
    /// - Parameter skipsFailures: Whether one that cannot be read is only mentioned: it may have
    ///   ended since it was listed.
    static func collect(
        _ sockets: [InterfaceSocket], skipsFailures: Bool,
        _ report: (InterfaceSocket) throws -> InterfaceReport
    ) throws -> [InterfaceReport] {
        var reports: [InterfaceReport] = []
        for socket in sockets {
            do {
                reports.append(try report(socket))
            } catch let failure as Failure where skipsFailures {
                Console.error("branchline: \(failure.message)")
            }
        }
        if reports.isEmpty && !sockets.isEmpty {
            let names = sockets.map(\.name).joined(separator: ", ")
            throw Failure.failed("none of these could be asked: \(names); try sudo")
        }
        return reports
    }

    /// The text of `wg show`.
    fileprivate func asShown(now: UInt64) -> String {
        var lines = ["interface: \(interface)"]
        if let publicKey {
            lines.append("  public key: \(publicKey)")
            lines.append("  private key: (hidden)")
        }
        if listenPort != 0 { lines.append("  listening port: \(listenPort)") }
        if firewallMark != 0 { lines.append("  fwmark: 0x\(String(firewallMark, radix: 16))") }
        for peer in peers { lines += [""] + peer.asShown(now: now) }
        return lines.joined(separator: "\n")
    }
}

extension InterfaceReport.Peer {
    fileprivate func asShown(now: UInt64) -> [String] {
        var lines = ["peer: \(publicKey)"]
        if hasPresharedKey { lines.append("  preshared key: (hidden)") }
        if let known = TunnelProfile(rawValue: profile), known != .wireguard {
            lines.append("  profile: \(known.profileWord), \(known.cipherWord)")
        }
        if let endpoint { lines.append("  endpoint: \(endpoint)") }
        let prefixes = allowedIps.isEmpty ? "(none)" : allowedIps.joined(separator: ", ")
        lines.append("  allowed ips: \(prefixes)")
        if latestHandshakeSeconds != 0 {
            let ago = Text.ago(seconds: latestHandshakeSeconds, now: now)
            lines.append("  latest handshake: \(ago)")
        }
        if receivedBytes != 0 || transmittedBytes != 0 {
            lines.append(
                "  transfer: \(Text.bytes(receivedBytes)) received, "
                    + "\(Text.bytes(transmittedBytes)) sent")
        }
        if persistentKeepaliveSeconds != 0 {
            let interval = Text.duration(seconds: UInt64(persistentKeepaliveSeconds))
            lines.append("  persistent keepalive: every \(interval)")
        }
        return lines
    }
}
