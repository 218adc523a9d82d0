import ArgumentParser
import ControlModel
import CoordinatorClient

struct APITokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "api-token",
        abstract: "Make, list and delete the tokens that programs and people log in with.",
        discussion: """
            For example:

              branchline admin api-token create grafana --role observer --expires 90d
            """,
        subcommands: [Create.self, List.self, Delete.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an API token and print it, once.",
            discussion: """
                Roles: owner may do everything, security-admin everything in one tenant, auditor \
                reads everything, observer all but the audit log. For example:

                  branchline admin api-token create ci --role security-admin --tenant acme
                """)

        @Argument(help: "What to call it.")
        var name: String

        @Option(help: "What it may do.")
        var role: CoordinatorAPI.AccessRole

        @Option(
            name: [.long, .short], help: "In which tenant; security-admin needs one.",
            transform: Parse.name)
        var tenant: Name?

        @Option(
            help: ArgumentHelp("When it ends, such as 90d.", valueName: "duration"),
            transform: Parse.duration)
        var expires: Int64?

        @OptionGroup var output: OutputOptions

        func run() async throws {
            let secret = try await AdminSession.run { session in
                let request = CoordinatorAPI.APITokenRequest(
                    name: name, role: role, tenant: tenant?.text,
                    expiresAt: expires.map { session.now + $0 })
                let answer: CoordinatorAPI.APITokenSecret = try await session.client.call(
                    .post, "/v1/api-tokens", body: request
                ).answer
                return answer
            }
            try output.print(secret) { secret.secret + "\n" }
            if !output.json {
                Console.error("note: this is shown once; its id is \(secret.token.id)")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List API tokens, without their secrets.",
            discussion: """
                For example:

                  branchline admin api-token list
                """)

        @OptionGroup var output: OutputOptions

        func run() async throws {
            let tokens: [CoordinatorAPI.APIToken] = try await AdminSession.run { session in
                try await session.all("/v1/api-tokens")
            }
            try output.print(tokens) {
                var table = TextTable(
                    header: ["ID", "NAME", "ROLE", "TENANT", "CREATED", "EXPIRES", "LAST USED"])
                for token in tokens {
                    table.append([
                        token.id, token.name, token.role.rawValue, token.tenant ?? "all",
                        Text.time(token.createdAt), token.expiresAt.map(Text.time) ?? "never",
                        token.lastUsedAt.map(Text.time) ?? "never",
                    ])
                }
                return table.text
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete an API token; whoever uses it is locked out at once.",
            discussion: """
                For example:

                  branchline admin api-token delete 7f3a...
                """)

        @Argument(help: "The token's id, as `list` shows it.", transform: KeyText.read)
        var id: String

        @OptionGroup var confirmation: ConfirmOptions

        func run() async throws {
            let id = try Parse.pathPart(id)
            try await AdminSession.run { session in
                let me: CoordinatorAPI.Identity = try await session.get("/v1/me")
                let isOwn = me.actor == "api-token:\(id)"
                try confirmation.confirm(
                    isOwn
                        ? "Delete the API token \(id)? You are logged in with it: this machine is "
                            + "locked out at once. If no other owner's token is left, "
                            + "\(AdminLogout.recovery)."
                        : "Delete the API token \(id)?")
                do {
                    _ = try await session.client.call(.delete, "/v1/api-tokens/\(id)")
                } catch let problem as CoordinatorAPI.Problem
                    where problem.reason == CoordinatorAPI.Reason.inUse.rawValue
                {
                    throw Failure.failed(
                        "the coordinator refused: \(problem.detail); make another with "
                            + "`branchline admin api-token create NAME --role owner` first")
                }
            }
            try Console.output("deleted \(id)")
        }
    }
}
