import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography

struct AdminShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show the organisation, your login, and what the admins' keys may sign.",
        discussion: """
            For example:

              branchline admin show
            """)

    /// What `--json` prints.
    private struct Report: Encodable, Sendable {
        let coordinator: String
        let actor: String
        let role: CoordinatorAPI.AccessRole?
        let tenant: String?
        let root: String
        let hasRootKey: Bool
        let ownKey: String?
        /// Number of the organisation's list; 0 for none.
        let revocations: Int64
        let revocationCount: Int
        let tenantRevocations: [TenantList]
        let admins: [CoordinatorAPI.Admin]
    }

    /// A tenant's revocation list, where it has one.
    private struct TenantList: Encodable, Sendable {
        let tenant: String
        let number: Int64
        let count: Int
    }

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let report = try await AdminSession.run { session in
            let me: CoordinatorAPI.Identity = try await session.get("/v1/me")
            let trust = try await session.trust(nil)
            let verified = trust.organisation.admins.filter { trust.verifies($0) }
            if verified.count < trust.organisation.admins.count {
                Console.error(
                    "note: the coordinator lists admins whose statements do not verify; they are "
                        + "left out")
            }
            let root = trust.verifier.anchors.anchors.last?.key.base64URL ?? ""
            let list = trust.verifier.revocations.list(of: .organisation)
            let lists = try await Self.tenantLists(session)
            return Report(
                coordinator: session.login.coordinator, actor: me.actor, role: me.role,
                tenant: me.tenant, root: root, hasRootKey: session.folder.exists(.rootKey),
                ownKey: try session.folder.publicKey(.adminKey)?.base64URL,
                revocations: list?.number ?? 0, revocationCount: list?.entries.count ?? 0,
                tenantRevocations: lists, admins: verified)
        }
        try output.print(report) { text(report) }
    }

    private static func tenantLists(_ session: AdminSession) async throws -> [TenantList] {
        var lists: [TenantList] = []
        for tenant in try await session.allTenants() {
            do {
                let trust = try await session.trust(tenant)
                guard let list = trust.verifier.revocations.list(of: .tenant(tenant)) else {
                    continue
                }
                lists.append(
                    TenantList(
                        tenant: tenant.text, number: list.number, count: list.entries.count))
            } catch let refusal as Refusal {
                // Everything else must show nevertheless.
                Console.error(
                    Text.plain("note: the list of \(tenant) is not believed: \(refusal)"))
            }
        }
        return lists
    }

    private func text(_ report: Report) -> String {
        let role = report.role?.rawValue ?? "none"
        var lines = [
            "coordinator  \(report.coordinator)",
            "login        \(report.actor), role \(role)"
                + (report.tenant.map { " in \($0)" } ?? ""),
            "root key     \(report.root)" + (report.hasRootKey ? ", is here" : ""),
            "own key      \(report.ownKey ?? "none")",
            "revocations  organisation: "
                + (report.revocations == 0
                    ? "none" : "list \(report.revocations) of \(report.revocationCount)"),
        ]
        for list in report.tenantRevocations {
            lines.append("             \(list.tenant): list \(list.number) of \(list.count)")
        }
        lines.append("")
        var table = TextTable(
            header: ["ADMIN", "TENANTS", "ROLES", "REVOKES", "UNTIL", "STATE"])
        for admin in report.admins {
            table.append([
                admin.key == report.ownKey ? "\(admin.key) (you)" : admin.key,
                admin.tenants?.joined(separator: ", ") ?? "all",
                admin.roles.joined(separator: ", "), admin.mayRevoke ? "yes" : "no",
                Text.time(admin.validUntil), admin.isRevoked ? "revoked" : "active",
            ])
        }
        lines += table.lines(indentation: 0)
        return Text.plain(lines.joined(separator: "\n")) + "\n"
    }
}

extension Trust {
    /// Whether the root signed this admin's key, now or in the past.
    func verifies(_ admin: CoordinatorAPI.Admin) -> Bool {
        let past = Verifier(anchors: verifier.anchors)
        let key = try? past.verifyAdmin(StatementChain([admin.statement]), at: admin.validFrom)
        return key?.key.base64URL == admin.key
    }
}
