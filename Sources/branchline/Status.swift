import ArgumentParser
import Glibc
import LinuxNetworking

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the state of tunnels: peers, loss, encryption, offloads and drops.",
        discussion: """
            Of an interface that another program serves, what that one tells is shown. For example:

              sudo branchline status
              sudo branchline status wg0 --watch
              sudo branchline status --json | jq '.[].engine.drops'

            \(InterfaceReport.jsonHelp) Also received_packets, lost_packets and loss_share \
            (0 to 1) of each peer, and engine: version, uptime_seconds, mtu, worker_count, cipher, \
            offloads, fallbacks, drops with the number of packets for each reason, and \
            socket_fault where the UDP port cannot be opened.
            """)

    @Argument(
        help: "An interface's name; without it, every interface.",
        completion: .custom { _, _, _ in InterfaceSocket.live().map(\.name) })
    var interface: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Show the state again every second until Ctrl-C.")
    var watch = false

    func run() throws {
        guard watch else {
            try Console.write(screen())
            return
        }
        while true {
            let text = try screen()
            // JSON is for programs: one value after the other. The table overwrites itself.
            try Console.write(json ? text : Self.clearScreen + text)
            sleep(1)
        }
    }

    private func screen() throws -> String {
        let sockets =
            try interface.map { [try InterfaceSocket(name: $0)] } ?? InterfaceSocket.live()
        let reports = try InterfaceReport.collect(
            sockets, skipsFailures: interface == nil
        ) { socket in
            InterfaceReport(
                name: socket.name, device: try socket.deviceStatus(),
                engine: try socket.engineStatus())
        }
        if json { return try InterfaceReport.json(reports) + "\n" }
        if reports.isEmpty {
            return "no tunnel is up; start one with `sudo branchline up wg0`\n"
        }
        return reports.map { $0.asTable(now: Text.now) + "\n" }.joined(separator: "\n")
    }

    /// Moves the cursor home and clears what follows (ECMA-48).
    private static let clearScreen = "\u{1B}[H\u{1B}[2J"
}

extension InterfaceReport {
    fileprivate func asTable(now: UInt64) -> String {
        var lines = ["interface \(interface)"]
        lines += facts.map { "  \($0.name.padded(to: Self.factWidth))\($0.value)" }
        if peers.isEmpty {
            lines.append("  no peers")
        } else {
            lines += [""] + peerTable(now: now)
        }
        lines += dropTable
        return lines.joined(separator: "\n")
    }

    private var facts: [(name: String, value: String)] {
        var facts: [(name: String, value: String)] = [
            ("public key", publicKey ?? "none: set PrivateKey"),
            ("listen port", listenPort == 0 ? "none" : String(listenPort)),
        ]
        if firewallMark != 0 {
            facts.append(("firewall mark", "0x\(String(firewallMark, radix: 16))"))
        }
        guard let engine else {
            if let link = try? RoutingNetlink().linkByName(interface) {
                facts.append(("MTU", String(link.mtu)))
            }
            facts.append(("served by", "another program, which tells no more"))
            return facts
        }
        if let fault = engine.socketFault {
            facts.append(("socket", "none: \(fault); it is tried again and again"))
        }
        facts += [
            ("MTU", String(engine.mtu)),
            ("workers", String(engine.workerCount)),
            ("cipher", engine.cipher),
            (
                "offloads",
                engine.offloads.isEmpty ? "none" : engine.offloads.joined(separator: ", ")
            ),
        ]
        facts += engine.fallbacks.map { ("fallback", $0) }
        facts.append(
            (
                "daemon",
                "branchlined \(engine.version), up "
                    + Text.shortDuration(seconds: engine.uptimeSeconds)
            ))
        return facts
    }

    private func peerTable(now: UInt64) -> [String] {
        var table = TextTable(
            header: ["PEER", "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT", "LOSS", "ALLOWED IPS"])
        for peer in peers {
            table.append([
                String(peer.publicKey.prefix(Self.shortKeyCount)),
                peer.endpoint ?? "-",
                Text.shortAgo(seconds: peer.latestHandshakeSeconds, now: now),
                Text.bytes(peer.receivedBytes),
                Text.bytes(peer.transmittedBytes),
                Text.percent(peer.lossShare),
                Self.shortList(peer.allowedIps),
            ])
        }
        return table.lines(indentation: 2)
    }

    private var dropTable: [String] {
        let drops = (engine?.drops ?? [:]).filter { $0.value > 0 }
        if drops.isEmpty { return [] }
        var table = TextTable(header: ["DROPPED", "PACKETS"])
        for (reason, count) in drops.sorted(by: { ($0.value, $1.key) > ($1.value, $0.key) }) {
            table.append([reason.replacing("_", with: " "), String(count)])
        }
        return [""] + table.lines(indentation: 2)
    }

    private static func shortList(_ entries: [String]) -> String {
        if entries.isEmpty { return "none" }
        let shown = entries.prefix(listedMax).joined(separator: ", ")
        return entries.count > listedMax ? "\(shown) and \(entries.count - listedMax) more" : shown
    }

    private static let factWidth = 15
    /// Characters of a key that tell peers apart at a glance.
    private static let shortKeyCount = 10
    private static let listedMax = 3
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
