import ArgumentParser
import ControlModel
import CoordinatorClient
import NodeAgent

struct Leave: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Leave the network that `join` has joined, and wipe this node's keys.",
        discussion: """
            The coordinator is told, the daemon ends, and the membership is removed; coming back \
            takes a new token. For example:

              sudo branchline leave
              sudo branchline leave bl0 --yes

            A grant counts until it expires or an admin revokes it: if the keys may have been \
            copied, have the node revoked.
            """)

    @Argument(help: "The interface's name; may be left out where only one has joined.")
    var interface: String?

    @Flag(help: "Go on where the coordinator cannot be told.")
    var force = false

    @OptionGroup var confirmation: ConfirmOptions

    func run() throws {
        try requireRoot(to: "leave")
        let interface = try choose()
        guard interface.folder.isJoined || force else {
            throw Failure.badInput(
                "\(interface.name) has not joined anything; see `branchline status`")
        }
        let tenant = (try? interface.folder.terms())?.tenant
        try confirmation.confirm(
            "Leave \(tenant ?? "the network") and wipe the keys of \(interface.name)?")
        Interruption.arm()
        let isForced = force
        try runAsync { try await Self.tell(interface, isForced: isForced) }
        if let tenant = TenantMembership.find(interface.folder) {
            try tenant.remove()
        } else {
            try interface.stop()
        }
        do {
            try interface.folder.remove()
        } catch {
            throw Failure.failed("the membership could not be removed: \(error)")
        }
        try? Console.output("\(interface.name) has left \(tenant ?? "its network")")
    }

    private func choose() throws -> JoinedInterface {
        if let interface { return try JoinedInterface(name: interface) }
        let all = JoinedInterface.all
        guard all.count == 1 else {
            throw Failure.badInput(
                all.isEmpty
                    ? "nothing has joined here"
                    : "say which: \(all.map(\.name).joined(separator: ", "))")
        }
        return all[0]
    }

    private static func tell(_ interface: JoinedInterface, isForced: Bool) async throws {
        do {
            let stored = try interface.folder.load()
            let client = try CoordinatorClient(
                coordinator: stored.terms.coordinator,
                pin: stored.terms.serverPin.flatMap { ServerPin(base64URL: $0) },
                credential: stored.credential)
            try await client.call(.delete, "/v1/self")
        } catch let problem as CoordinatorAPI.Problem where problem.status == 401 {
            // It does not know the node any more.
        } catch let problem as CoordinatorAPI.Problem
            where problem.reason == CoordinatorAPI.Reason.nodeRevoked.rawValue
        {
            Console.error("note: an admin has revoked this node already")
        } catch {
            let reason = Failure(coordinator: error)?.message ?? "\(error)"
            guard isForced else {
                throw Failure.failed(
                    "the coordinator could not be told: \(reason); try again later, or leave all "
                        + "the same with --force and have an admin revoke the node")
            }
            Console.error("note: the coordinator was not told: \(reason)")
        }
    }
}
