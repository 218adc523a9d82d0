import ArgumentParser
import ControlModel
import CoordinatorClient

struct PolicyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Show, set and try the rules of which group may reach which service.",
        discussion: """
            What no rule allows is denied; answers need no rule. A policy has tests, and is \
            refused where one fails. Every node enforces it, for what it sends and for what it \
            receives, from the moment that it hears of it. A tenant that never had a policy \
            allows everything, as one rule from * to * for * does. `branchline status` on a node \
            counts what was denied, by nearest rule. For example:

              branchline policy show --tenant acme > policy.json
              branchline policy set policy.json --tenant acme
              branchline policy test plants models 443 --tenant acme
            """,
        subcommands: [Show.self, Set.self, PolicyTest.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the policy as JSON, as `policy set` takes it.",
            discussion: """
                Of a tenant that never had a policy it is the one that says what is in force: \
                everything is allowed. For example:

                  branchline policy show --tenant acme
                """)

        @Flag(help: "Print a table of the rules.")
        var table = false

        @OptionGroup var tenant: TenantOption

        func run() async throws {
            let policy = try await AdminSession.run { session in
                let tenant = try await session.tenant(tenant)
                let stored = try await session.policy(tenant)
                if stored.revision > 0 { return stored.policy }
                Console.error("note: \(tenant) has no policy; this is what is in force without one")
                return .withoutPolicy
            }
            guard table else {
                try Console.output(try APIJSON.encodePretty(policy))
                return
            }
            var rows = TextTable(header: ["RULE", "FROM", "TO", "TRANSPORT", "PORTS"])
            for rule in policy.rules {
                rows.append([
                    rule.name, rule.from.joined(separator: ", "), rule.to.joined(separator: ", "),
                    rule.transport, rule.ports.isEmpty ? "all" : rule.ports.joined(separator: ", "),
                ])
            }
            try Console.write(rows.text)
            guard let services = policy.services, !services.isEmpty else { return }
            var places = TextTable(header: ["SERVICE", "DESTINATIONS"])
            for service in services {
                places.append([service.name, service.destinations.joined(separator: ", ")])
            }
            try Console.write("\n" + places.text)
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replace the policy by a file's.",
            discussion: """
                The file is JSON: services with name and destinations (networks or addresses); \
                rules with name, from (groups, or * for all), to (groups and services, or * for \
                all), transport (tcp, udp, icmp or *) and ports, none for all; tests with from, \
                to, transport, port (none for icmp) and allowed. Make the groups first. Nodes \
                enforce the policy at once; connections that it no longer allows are cut. The \
                first policy of a tenant ends that everything is allowed. Rules must also let \
                branches ask the health targets of gateways. For example:

                  branchline policy set policy.json --tenant acme

                with this policy.json:

                  {
                    "services": [
                      { "name": "models", "destinations": ["10.9.0.0/24"] }
                    ],
                    "rules": [
                      {
                        "name": "plants-ask-models", "from": ["plants"], "to": ["models"],
                        "transport": "tcp", "ports": ["443", "8000-8100"]
                      },
                      {
                        "name": "ping", "from": ["*"], "to": ["*"], "transport": "icmp"
                      }
                    ],
                    "tests": [
                      {
                        "from": "plants", "to": "models", "transport": "tcp", "port": 443,
                        "allowed": true
                      },
                      {
                        "from": "plants", "to": "models", "transport": "tcp", "port": 22,
                        "allowed": false
                      }
                    ]
                  }
                """)

        @Argument(help: "The file, or - for standard input.", completion: .file())
        var file: String

        @OptionGroup var tenant: TenantOption
        @OptionGroup var confirmation: ConfirmOptions

        func run() async throws {
            let policy = try PolicyFile.read(file)
            try await AdminSession.run { session in
                let tenant = try await session.tenant(tenant)
                let old = try await session.policy(tenant)
                let nodes: [CoordinatorAPI.Node] = try await session.all(
                    "/v1/tenants/\(tenant)/nodes")
                HealthAccess(policy: policy, nodes: nodes).warnings.forEach(Console.error)
                if old.revision == 0 {
                    try confirmation.confirm(
                        "\(tenant) has no policy, so everything is allowed. From now on nothing is "
                            + "but what the \(policy.rules.count) rules allow, and other "
                            + "connections are cut. Go on?")
                } else if !old.policy.rules.isEmpty {
                    try confirmation.confirm(
                        "Replace the \(old.policy.rules.count) rules of \(tenant) by "
                            + "\(policy.rules.count)?")
                }
                _ = try await session.client.call(
                    .put, "/v1/tenants/\(tenant)/policy", body: policy, ifMatch: old.revision)
            }
            try Console.output(
                "the policy is stored and handed out to nodes; \(policy.tests.count) tests hold")
        }
    }
}

extension AccessPolicy {
    /// What is in force where there never was a policy.
    fileprivate static var withoutPolicy: AccessPolicy {
        AccessPolicy(
            rules: [
                Rule(
                    name: "everything", from: [Rule.anything], to: [Rule.anything],
                    transport: Rule.anything, ports: [])
            ],
            tests: [])
    }
}

extension AdminSession {
    func policy(_ tenant: Name) async throws -> (policy: AccessPolicy, revision: Int64) {
        let answer: (answer: AccessPolicy, etag: Int64?) = try await client.call(
            .get, "/v1/tenants/\(tenant)/policy")
        return (answer.answer, answer.etag ?? 0)
    }
}
