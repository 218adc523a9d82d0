import ArgumentParser
import Gateway
import Glibc
import LinuxNetworking
import NodeAgent
import PacketFormats
import WireGuardConfiguration

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the state of tunnels: peers, loss, encryption, offloads and drops.",
        discussion: """
            Of an interface that another program serves, what that one tells is shown. Where a \
            gateway runs here, its tenants are listed, each with peers, rates and limits; \
            --tenant shows all of one. For example:

              sudo branchline status
              sudo branchline status wg0 --watch
              sudo branchline status --tenant acme
              sudo branchline status --json | jq '.[].engine.drops'

            \(InterfaceReport.jsonHelp) Also received_packets, lost_packets, loss_share \
            (0 to 1), wrong_profile (spoken, seconds_ago, advice) where it speaks another profile \
            than it is configured for, path where probes measure it (round_trip_ms, smoothed, \
            round_trip_min_ms of the last minute or two, jitter_ms and loss_share of the way to \
            the peer, probes, answers, mtu with outer headers and is_mtu_confirmed) and, where it \
            is known, name of each peer, and engine: \
            version, uptime_seconds, mtu, worker_count, cipher, offloads, fallbacks, drops with \
            the number of packets for each reason, access where the network's rules are enforced, \
            with connections, connections_max, refused_connections and denials by nearest rule, \
            and socket_fault where the UDP port cannot be opened. Of a joined interface, agent: \
            state (active, pending, suspended, revoked, expired), tenant, role, coordinator, \
            connected_since, last_number, revocation_lists, is_served_stale_revocations, \
            accepted_peers, refusals by reason, grant_expires_at and key_since.

            Where this machine has a gateway, the list without an interface's name ends with an \
            object whose one member, gateway, is what `branchline gateway show --json` prints.

            With --tenant, of this machine's gateway: one object with state (up, waiting, faulty, \
            stopped), fault and last_fault (kind, detail, at), retry_at, restarts, notes, \
            interface, place, addresses, limits, peer_count, live_peer_count, rates, dropped, \
            denied and device, the interface's own object.
            """)

    @OptionGroup var scope: TunnelScope

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
        if let tenant = scope.tenant { return try TenantReport.screen(of: tenant, json: json) }
        try scope.interface.map(requireTenantServed)
        let sockets =
            try scope.interface.map { [try InterfaceSocket(name: $0)] } ?? InterfaceSocket.live()
        let reports = try InterfaceReport.collect(
            sockets, skipsFailures: scope.interface == nil
        ) { socket in
            InterfaceReport(
                name: socket.name, device: try socket.deviceStatus(),
                engine: try socket.engineStatus(),
                agent: JoinedInterface.find(socket.name)?.folder.status())
        }
        if json {
            let gateway = scope.interface == nil ? GatewayReport.ofThisMachine() : nil
            let rows = reports.map(Row.interface) + (gateway.map { [.gateway($0)] } ?? [])
            return try InterfaceReport.json(rows) + "\n"
        }
        let overview = scope.interface == nil ? GatewayReport.ofRunningGateway() : nil
        let tenants = Set(overview?.tenants.compactMap(\.interface) ?? [])
        let down = scope.interface == nil ? JoinedInterface.all.filter { !$0.isLive } : []
        let gateway = overview == nil && scope.interface == nil
            ? Self.stoppedGateway.map { [$0] } : nil
        let notes = (gateway ?? []) + down.map { joined in
            if TenantMembership.find(joined.folder) == nil,
                let refusal = TenantMembership.refusalOfFormer(joined)
            {
                return refusal.message + "\n"
            }
            let command = TenantMembership.find(joined.folder) == nil
                ? "up \(joined.name)" : "gateway start"
            return "\(joined.name) has joined a network and is down; start it with `sudo "
                + "branchline \(command)`\n"
        }
        if reports.isEmpty && notes.isEmpty && overview == nil {
            return "no tunnel is up; start one with `sudo branchline up wg0`, or join a network "
                + "with `sudo branchline join TOKEN`\n"
        }
        let now = Text.now
        let tables = reports.filter { !tenants.contains($0.interface) }
            .map { $0.asTable(now: now) + "\n" }
        let first = overview.map { [Text.plain($0.text(now: now))] } ?? []
        return (first + tables + notes).joined(separator: "\n")
    }

    /// Says so of a gateway that has tenants and does not run.
    private static var stoppedGateway: String? {
        let count = LocalGateway().folder.tenants.count
        guard count > 0 else { return nil }
        return "the gateway does not run; \(count) \(count == 1 ? "tenant" : "tenants") stopped; "
            + "start it with `sudo branchline gateway start`\n"
    }

    /// - Throws: If the interface is a tenant's that is not served; where to look instead.
    private func requireTenantServed(_ interface: String) throws {
        let gateway = LocalGateway()
        guard try !InterfaceSocket(name: interface).isLive,
            let domain = gateway.tenant(where: { $0.interface == interface })
        else { return }
        let remedy = gateway.isServed
            ? "is not served now; see `sudo branchline tenant show \(domain.tenant)`"
            : "the gateway does not run; start it with `sudo branchline gateway start`"
        throw Failure.failed(
            "\(interface) is the tenant \(domain.tenant) of the gateway"
                + (gateway.isServed ? ", which " : ": ") + remedy)
    }

    /// One object of the JSON list.
    private enum Row: Encodable {
        case interface(InterfaceReport)
        case gateway(GatewayReport)

        private enum CodingKeys: String, CodingKey { case gateway }

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .interface(let report): try report.encode(to: encoder)
            case .gateway(let report):
                var object = encoder.container(keyedBy: CodingKeys.self)
                try object.encode(report, forKey: .gateway)
            }
        }
    }

    /// Moves the cursor home and clears what follows (ECMA-48).
    private static let clearScreen = "\u{1B}[H\u{1B}[2J"
}

extension InterfaceReport {
    func asTable(now: UInt64) -> String {
        var lines = ["interface \(interface)"]
        lines += facts.map { "  \($0.name.padded(to: Self.factWidth))\($0.value)" }
        if peers.isEmpty {
            lines.append("  no peers")
        } else {
            lines += [""] + peerTable(now: now)
        }
        lines += dropTable + denialTable
        return lines.joined(separator: "\n")
    }

    private var facts: [(name: String, value: String)] {
        var facts: [(name: String, value: String)] = [
            ("public key", publicKey ?? "none: set PrivateKey"),
            ("listen port", listenPort == 0 ? "none" : String(listenPort)),
        ]
        if let agent { facts += agent.facts(now: Text.now) }
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
        if let access = engine.access {
            let refused = access.refusedConnections
            facts.append((
                "access rules",
                "enforced; \(access.connections) of \(access.connectionsMax) connections known"
                    + (refused > 0 ? ", \(refused) found no room" : "")
            ))
        }
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
        // Only peers of our own profile answer probes.
        let hasPaths = peers.contains { $0.path != nil }
        var table = TextTable(
            header: ["PEER", "PROFILE", "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT", "LOSS"]
                + (hasPaths ? ["LOSS OUT", "RTT", "PATH MTU"] : []) + ["ALLOWED IPS"])
        for peer in peers {
            let path = peer.path.map(\.cells) ?? ["-", "-", "-"]
            table.append([
                peer.name.map(Text.line) ?? String(peer.publicKey.prefix(Self.shortKeyCount)),
                TunnelProfile(rawValue: peer.profile)?.profileWord ?? peer.profile,
                peer.endpoint ?? "-",
                Text.shortAgo(seconds: peer.latestHandshakeSeconds, now: now),
                Text.bytes(peer.receivedBytes),
                Text.bytes(peer.transmittedBytes),
                Text.percent(peer.lossShare),
            ] + (hasPaths ? path : []) + [Self.shortList(peer.allowedIps)])
        }
        return table.lines(indentation: 2)
            + peers.compactMap(\.wrongProfile).map { "  \($0.line)" }
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

    private var denialTable: [String] {
        let denials = (engine?.access?.denials ?? [:]).filter { $0.value > 0 }
        if denials.isEmpty { return [] }
        var table = TextTable(header: ["DENIED, NEAREST RULE", "PACKETS"])
        for (rule, count) in denials.sorted(by: { ($0.value, $1.key) > ($1.value, $0.key) }) {
            table.append([Text.line(rule), String(count)])
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

extension InterfaceReport.Path {
    /// Loss, round trip with jitter, and MTU.
    fileprivate var cells: [String] {
        var time = roundTripMs.map { "\(Text.decimal($0, 1))" } ?? "-"
        if let jitterMs, roundTripMs != nil { time += " ±\(Text.decimal(jitterMs, 1)) ms" }
        return [Text.percent(lossShare), time, isMtuConfirmed ? String(mtu) : "\(mtu)?"]
    }
}

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
