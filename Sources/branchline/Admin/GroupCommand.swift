import ArgumentParser
import ControlModel
import CoordinatorClient

struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group",
        abstract: "Add, list and remove the groups that policies name.",
        discussion: """
            Who is in a group is said by the signed grants. For example:

              branchline group add plants --tenant acme
            """,
        subcommands: [Add.self, List.self, Remove.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a group.",
            discussion: """
                For example:

                  branchline group add plants --tenant acme --description "production sites"
                """)

        @Argument(help: "The group's name.", transform: Parse.name)
        var name: Name

        @Option(help: "What it is for.")
        var description: String?

        @OptionGroup var tenant: TenantOption
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let group = try await AdminSession.run { session in
                let tenant = try await session.tenant(tenant)
                let group: CoordinatorAPI.Group = try await session.client.call(
                    .post, "/v1/tenants/\(tenant)/groups",
                    body: CoordinatorAPI.GroupRequest(name: name.text, description: description)
                ).answer
                return group
            }
            try output.print(group) { Text.plain("added \(group.name)\n") }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List groups.",
            discussion: """
                For example:

                  branchline group list --tenant acme
                """)

        @OptionGroup var tenant: TenantOption
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let groups = try await AdminSession.run { session in
                let tenant = try await session.tenant(tenant)
                let groups: [CoordinatorAPI.Group] = try await session.all(
                    "/v1/tenants/\(tenant)/groups")
                return groups
            }
            try output.print(groups) {
                var table = TextTable(header: ["GROUP", "NODES", "DESCRIPTION"])
                for group in groups {
                    table.append([group.name, String(group.nodeCount), group.description ?? "-"])
                }
                return table.text
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a group that nobody is in and no policy names.",
            discussion: """
                For example:

                  branchline group remove plants --tenant acme
                """)

        @Argument(help: "The group's name.", transform: Parse.name)
        var name: Name

        @OptionGroup var tenant: TenantOption
        @OptionGroup var confirmation: ConfirmOptions

        func run() async throws {
            try await AdminSession.run { session in
                let tenant = try await session.tenant(tenant)
                try confirmation.confirm("Remove the group \(name) of \(tenant)?")
                _ = try await session.client.call(
                    .delete, "/v1/tenants/\(tenant)/groups/\(name)")
            }
            try Console.output("removed \(name)")
        }
    }
}
