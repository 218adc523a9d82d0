import ArgumentParser
import Gateway

struct GatewayShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the gateway and its tenants.",
        discussion: """
            For example:

              sudo branchline gateway show
              sudo branchline gateway show --json | jq '.tenants[] | select(.fault)'

            With --json: is_running, process_identifier, started_at, listen_port, socket_fault \
            where that cannot be opened, firewall_mark, workers, notes and tenants; of each \
            tenant what `branchline tenant show` has.
            """)

    @OptionGroup var output: OutputOptions

    func run() throws {
        try requireRoot(to: "look into the gateway's folder")
        let report = GatewayReport(LocalGateway())
        try output.print(report) { Text.plain(report.text(now: Text.now)) }
    }
}

/// What is printed of the gateway of this machine.
struct GatewayReport: Encodable {
    let isRunning: Bool
    let processIdentifier: Int32?
    let startedAt: Int64?
    let listenPort: UInt16?
    let socketFault: String?
    let firewallMark: UInt32?
    let workers: Int?
    let notes: [String]
    let tenants: [TenantReport]

    /// - Returns: `nil` where none runs, or it is not ours to look at.
    static func ofRunningGateway() -> GatewayReport? {
        let gateway = LocalGateway()
        return gateway.status == nil ? nil : GatewayReport(gateway)
    }

    /// - Returns: `nil` where none runs and none has tenants, or it is not ours to look at.
    static func ofThisMachine() -> GatewayReport? {
        let gateway = LocalGateway()
        return gateway.status == nil && gateway.folder.tenants.isEmpty
            ? nil : GatewayReport(gateway)
    }

    init(_ gateway: LocalGateway) {
        let status = gateway.status
        let settings = status?.settings ?? (try? gateway.folder.settings())
        isRunning = status != nil
        processIdentifier = status?.processIdentifier
        startedAt = status?.startedAt
        listenPort = settings?.listenPort
        socketFault = status?.socketFault
        firewallMark = settings?.firewallMark
        workers = settings?.workers
        var notes = status?.notes ?? []
        if status == nil {
            do throws(TenantFault) {
                _ = try gateway.folder.settings()
            } catch {
                notes.append("\(error)")
            }
        }
        self.notes = notes
        tenants = TenantReport.collect(gateway, gateway.folder.tenants)
    }

    func text(now: UInt64) -> String {
        var lines: [String] = []
        if let startedAt, let processIdentifier {
            let up = Text.shortDuration(seconds: now - min(now, UInt64(clamping: startedAt)))
            lines.append(
                "the gateway runs on UDP port \(listenPort ?? 0), process \(processIdentifier), "
                    + "up \(up)")
        } else {
            lines.append(
                "the gateway does not run; start it with `sudo branchline gateway start`")
        }
        if let socketFault {
            lines.append(
                "nothing reaches it: \(socketFault); it is tried again and again")
        }
        lines += notes.map { "note: \($0)" }
        if tenants.isEmpty {
            lines.append("no tenants; add one with `sudo branchline gateway add`")
            return lines.joined(separator: "\n") + "\n"
        }
        var table = TextTable(header: [
            "TENANT", "STATE", "INTERFACE", "PLACE", "PEERS", "RECEIVED", "SENT", "DROPPED",
            "DENIED", "LIMITS",
        ])
        for tenant in tenants {
            table.append([
                tenant.tenant, tenant.fault == nil ? tenant.state : "\(tenant.state)!",
                tenant.interface ?? "-", tenant.place ?? "-",
                tenant.peerCount.map { "\(tenant.livePeerCount ?? 0)/\($0)" } ?? "-",
                tenant.rates.map { Text.rate($0.receivedBitsPerSecond) } ?? "-",
                tenant.rates.map { Text.rate($0.transmittedBitsPerSecond) } ?? "-",
                tenant.dropped.map(String.init) ?? "-", tenant.denied.map(String.init) ?? "-",
                tenant.limits.map(TenantReport.words) ?? "-",
            ])
        }
        lines += [""] + table.lines(indentation: 0)
        let faults = tenants.compactMap { tenant in
            tenant.fault.map { "\(tenant.tenant): \($0.kind.rawValue): \($0.detail)" }
        }
        let notes = tenants.flatMap { tenant in tenant.notes.map { "\(tenant.tenant): \($0)" } }
        if !faults.isEmpty || !notes.isEmpty { lines += [""] + faults + notes }
        return lines.joined(separator: "\n") + "\n"
    }
}
