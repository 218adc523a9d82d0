import ArgumentParser
import ControlModel
import CoordinatorClient
import Gateway
import PacketFormats

struct TenantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenant",
        abstract: "Add, list and remove tenants and their address pools.",
        discussion: """
            Tenants may use the same addresses; their traffic never meets. For example:

              branchline tenant add acme --pool 10.64.0.0/16 --pool fd00:64::/64
            """,
        subcommands: [Add.self, List.self, Show.self, Remove.self, PoolCommand.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a tenant.",
            discussion: """
                For example:

                  branchline tenant add acme --pool 10.64.0.0/16
                """)

        @Argument(help: "The tenant's name.", transform: Parse.name)
        var name: Name

        @Option(
            name: [.customLong("pool")],
            help: "A network that nodes get their addresses from; may be repeated.",
            transform: Parse.prefix)
        var pools: [IPPrefix]

        @OptionGroup var output: OutputOptions

        func run() async throws {
            let request = CoordinatorAPI.TenantRequest(
                name: name.text, pools: pools.map(\.description))
            let tenant: CoordinatorAPI.Tenant = try await AdminSession.run { session in
                try await session.client.call(.post, "/v1/tenants", body: request).answer
            }
            try output.print(tenant) {
                Text.plain(
                    "added \(tenant.name); next: branchline token create --tenant \(tenant.name) "
                        + "--role gateway\n")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List tenants.",
            discussion: """
                For example:

                  branchline tenant list
                """)

        @OptionGroup var output: OutputOptions

        func run() async throws {
            let tenants: [CoordinatorAPI.Tenant] = try await AdminSession.run { session in
                try await session.all("/v1/tenants")
            }
            try output.print(tenants) {
                var table = TextTable(header: ["TENANT", "NODES", "POOLS", "CREATED"])
                for tenant in tenants {
                    table.append([
                        tenant.name, String(tenant.nodeCount),
                        tenant.pools.map(\.prefix).joined(separator: ", "),
                        Text.time(tenant.createdAt),
                    ])
                }
                return table.text
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a tenant of this machine's gateway, or of the coordinator.",
            discussion: """
                Where the gateway here has a tenant of that name, its state, limits, rates and \
                peers, as `status --tenant`; else the coordinator's tenant and how full its pools \
                are. For example:

                  sudo branchline tenant show acme
                  branchline tenant show acme --coordinator
                """)

        @Argument(help: "The tenant's name.", transform: Parse.name)
        var name: Name

        @Flag(help: "Ask the coordinator, whatever the gateway here has.")
        var coordinator = false

        @OptionGroup var output: OutputOptions

        func run() async throws {
            if !coordinator, LocalGateway().folder.hasTenant(name.text) {
                return try Console.write(
                    TenantReport.screen(of: name.text, json: output.json))
            }
            let tenant: CoordinatorAPI.Tenant
            do {
                tenant = try await AdminSession.run { session in
                    try await session.get("/v1/tenants/\(name)")
                }
            } catch {
                noteTenantsHere()
                throw error
            }
            try output.print(tenant) { TenantCommand.text(tenant) }
        }

        /// Whoever asked may have meant one of the gateway.
        private func noteTenantsHere() {
            let known = LocalGateway().folder.tenants
            guard !coordinator, !known.isEmpty else { return }
            Console.error(
                "note: the gateway here has no tenant \(name); it has "
                    + "\(known.map(Text.plain).joined(separator: ", "))")
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a tenant that has no nodes any more.",
            discussion: """
                For example:

                  branchline tenant remove acme
                """)

        @Argument(help: "The tenant's name.", transform: Parse.name)
        var name: Name

        @OptionGroup var confirmation: ConfirmOptions

        func run() async throws {
            try confirmation.confirm(
                "Remove the tenant \(name) with its tokens, groups and policies?")
            try await AdminSession.run { session in
                let tenant: CoordinatorAPI.Tenant = try await session.get("/v1/tenants/\(name)")
                _ = try await session.client.call(
                    .delete, "/v1/tenants/\(name)", ifMatch: tenant.revision)
            }
            try Console.output("removed \(name)")
        }
    }

    struct PoolCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "pool",
            abstract: "Add and remove a tenant's address pools.",
            discussion: """
                For example:

                  branchline tenant pool add acme 10.65.0.0/16
                """,
            subcommands: [AddPool.self, RemovePool.self])
    }

    struct AddPool: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add",
            abstract: "Give a tenant another network for addresses.",
            discussion: """
                For example:

                  branchline tenant pool add acme fd00:64::/64
                """)

        @Argument(help: "The tenant's name.", transform: Parse.name)
        var tenant: Name

        @Argument(help: "The network.", transform: Parse.prefix)
        var network: IPPrefix

        @OptionGroup var output: OutputOptions

        func run() async throws {
            let request = CoordinatorAPI.PoolRequest(prefix: network.description)
            let tenant: CoordinatorAPI.Tenant = try await AdminSession.run { session in
                try await session.client.call(
                    .post, "/v1/tenants/\(self.tenant)/pools", body: request
                ).answer
            }
            try output.print(tenant) { TenantCommand.text(tenant) }
        }
    }

    struct RemovePool: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove",
            abstract: "Take a network away that no node has an address in.",
            discussion: """
                For example:

                  branchline tenant pool remove acme 10.65.0.0/16
                """)

        @Argument(help: "The tenant's name.", transform: Parse.name)
        var tenant: Name

        @Argument(help: "The network.", transform: Parse.prefix)
        var network: IPPrefix

        @OptionGroup var confirmation: ConfirmOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try confirmation.confirm("Remove the pool \(network) of \(tenant)?")
            let tenant: CoordinatorAPI.Tenant = try await AdminSession.run { session in
                try await session.client.call(
                    .delete,
                    "/v1/tenants/\(self.tenant)/pools/\(network.address)/\(network.length)"
                ).answer
            }
            try output.print(tenant) { TenantCommand.text(tenant) }
        }
    }

    private static func text(_ tenant: CoordinatorAPI.Tenant) -> String {
        var table = TextTable(header: ["POOL", "ALLOCATED", "CAPACITY"])
        for pool in tenant.pools {
            table.append([pool.prefix, String(pool.allocated), String(pool.capacity)])
        }
        return Text.plain(
            "tenant   \(tenant.name)\nnodes    \(tenant.nodeCount)\n"
                + "created  \(Text.time(tenant.createdAt))\n\n") + table.text
    }
}
