import ArgumentParser
import ControlModel
import CoordinatorClient

struct QoSCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qos",
        abstract: "Show how traffic is told apart, queued and shared; say how it should be.",
        discussion: """
            Without a subcommand, the classes of every tunnel of this machine: rates, queues, \
            waits, marks and drops. For example:

              sudo branchline qos
              sudo branchline qos wg0 --watch
              sudo branchline qos --tenant acme --json
              sudo branchline qos explain 10.0.0.2:51000-10.9.0.5:443
              sudo branchline qos local set wg0 qos.json

            A tenant's policy at the coordinator:

              branchline qos show --tenant acme > qos.json
              branchline qos set qos.json --tenant acme


            """ + QoSReport.jsonHelp,
        subcommands: [
            QoSStatusCommand.self, QoSExplain.self, QoSLocal.self, QoSShow.self, QoSSet.self,
        ],
        defaultSubcommand: QoSStatusCommand.self)
}

struct QoSStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the classes of tunnels: rates, queues, waits, marks and drops.",
        discussion: """
            Rates are what passes within a second of looking. Waits are of all packets since the \
            daemon began; with --watch, of those since the last look, and the longest one is then \
            a bound. For example:

              sudo branchline qos
              sudo branchline qos status wg0 --watch
              sudo branchline qos --tenant acme --json


            """ + QoSReport.jsonHelp)

    @OptionGroup var scope: TunnelScope

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Show it again every second until Ctrl-C.")
    var watch = false

    func run() throws {
        try LiveView.run(watches: watch, json: json, first: { try scope.looks() }) { old in
            let new = try scope.looks()
            let reports = QoSReport.reports(from: old, to: new, sinceLastLook: watch)
            return (new, try text(reports))
        }
    }

    private func text(_ reports: [QoSReport]) throws -> String {
        if json { return try InterfaceReport.json(reports) + "\n" }
        if reports.isEmpty { return TunnelScope.nothingIsUp }
        return Text.plain(reports.map { $0.asTable() }.joined(separator: "\n"))
    }
}

struct QoSShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Print a tenant's QoS policy at the coordinator, as `qos set` takes it.",
        discussion: """
            The result is JSON. For example:

              branchline qos show --tenant acme
            """)

    @OptionGroup var tenant: TenantOption

    func run() async throws {
        let policy = try await AdminSession.run { session in
            try await session.qos(try await session.tenant(tenant)).policy
        }
        try Console.output(try APIJSON.encodePretty(policy))
    }
}

struct QoSSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Replace a tenant's QoS policy at the coordinator by a file's.",
        discussion: """
            The file is JSON, and what it leaves out is as it is by itself: \
            \(QoSLocal.fileHelp) For the coordinator also minimum_rate and maximum_rate of the \
            tenant at gateways, the minimum as far as a gateway's own file allows it, and links by \
            the name of a node, each with uplink_rate, downlink_rate and overhead_bytes, and \
            uplink_minimum_rate where the uplink's rate changes and is to be followed. Rates are \
            in bits per second. The policy is stored and handed out to nodes, which follow it at \
            once. For example:

              branchline qos set qos.json --tenant acme

            with this qos.json:

              {
                "services": [
                  {
                    "name": "chat", "destination": "10.9.0.0/24", "transport": "tcp",
                    "ports": ["443", "8000-8100"], "traffic_class": "token"
                  }
                ],
                "weights": { "prompt": 10, "bulk": 3 },
                "links": {
                  "paris": { "uplink_rate": 20000000, "downlink_rate": 50000000 }
                },
                "maximum_rate": 1000000000
              }
            """)

    @Argument(help: "The file, or - for standard input.", completion: .file())
    var file: String

    @OptionGroup var tenant: TenantOption

    func run() async throws {
        let policy: QoSPolicy = try InputFile.json(file, "a QoS policy")
        try await AdminSession.run { session in
            let tenant = try await session.tenant(tenant)
            let old = try await session.qos(tenant)
            _ = try await session.client.call(
                .put, "/v1/tenants/\(tenant)/qos", body: policy, ifMatch: old.revision)
        }
        try Console.output("the QoS policy is stored and handed out to nodes")
    }
}

extension AdminSession {
    func qos(_ tenant: Name) async throws -> (policy: QoSPolicy, revision: Int64) {
        let answer: (answer: QoSPolicy, etag: Int64?) = try await client.call(
            .get, "/v1/tenants/\(tenant)/qos")
        return (answer.answer, answer.etag ?? 0)
    }
}
