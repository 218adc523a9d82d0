import ArgumentParser
import ControlModel

struct AdminCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admin",
        abstract: "Set up an organisation, its admins' keys and logins.",
        discussion: """
            The organisation's root key and the admins' keys stay with the admins; the coordinator \
            gets only what they signed. Keys and logins are in $BRANCHLINE_CONFIG, by default in \
            ~/.config/branchline. For example:

              branchline admin init https://hq.example:8443
              branchline admin show
            """,
        subcommands: [
            AdminInit.self, AdminShow.self, AdminRequestKey.self, AdminAdd.self, AdminAccept.self,
            AdminRenew.self, AdminRevoke.self, AdminRollover.self, AdminLogin.self,
            AdminLogout.self, APITokenCommand.self,
        ])
}

/// What the root lets an admin's key sign.
struct AdminScopeOptions: ParsableArguments {
    @Option(
        name: [.customLong("tenant")],
        help: "A tenant that the key may sign for; may be repeated. Without it: all tenants.",
        transform: Parse.name)
    var tenants: [Name] = []

    @Option(
        name: [.customLong("role")],
        help: "A role that the key may grant; may be repeated. Without it: all roles.")
    var roles: [Role] = []

    @Option(name: [.customLong("class")], help: "The best traffic class that it may grant.")
    var ceiling: ClassCeiling = .token

    @Option(
        help: ArgumentHelp(
            "How long its grants may last at most, such as 90d; 398d at most.",
            valueName: "duration"),
        transform: Parse.duration)
    var grantFor: Int64 = TrustLimits.grantSecondsMax

    @Flag(help: "The key may not revoke anything.")
    var noRevoke = false

    @Option(help: "How many days the key counts; 1096 at most.")
    var days: Int64 = 365

    func validate() throws {
        guard (1...TrustLimits.adminSecondsMax / 86_400).contains(days) else {
            throw ValidationError("--days goes from 1 to \(TrustLimits.adminSecondsMax / 86_400)")
        }
        guard grantFor <= TrustLimits.grantSecondsMax else {
            throw ValidationError(
                "--grant-for is at most \(TrustLimits.grantSecondsMax / 86_400)d")
        }
    }
}
