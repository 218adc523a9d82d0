import ArgumentParser
import ControlModel
import Coordinator
import Foundation
import Logging

/// Makes an owner API token in the database itself, for whoever lost all others.
struct OwnerToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner-token",
        abstract: "Make a new owner API token, on the coordinator's machine, also while it serves.",
        discussion: """
            For an organisation whose owner tokens are lost. Whoever can write the database can \
            do this; the audit log shows it as api-token.create by coordinator.
            """)

    @OptionGroup var storage: StorageOptions

    @Option(help: "What the list of API tokens calls it.")
    var name = "owner-token"

    func run() async throws {
        try await StorageWork.run(storage) { database in
            let service = try await CoordinatorService(
                storage: database, now: { Int64(Date().timeIntervalSince1970) },
                setupCodeHash: { nil }, log: Logger(label: "owner-token"))
            let made = try await service.makeOwnerToken(name: name)
            print(made.secret)
            let hint = """
                note: this is shown once; its id is \(made.token.id). Use it with branchline \
                admin login

                """
            FileHandle.standardError.write(Data(hint.utf8))
        }
    }
}
