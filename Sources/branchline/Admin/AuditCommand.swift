import ArgumentParser
import ControlModel
import CoordinatorClient
import Foundation
import LinuxNetworking
import SystemPackage

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Show who did what; export the log and verify it offline.",
        discussion: """
            Every entry holds the hash of the one before, so that nothing can be changed, taken \
            out or put in unnoticed. For example:

              branchline audit --tenant acme --since 24h
              branchline audit export audit.jsonl
              branchline audit verify audit.jsonl
            """,
        subcommands: [AuditList.self, AuditExport.self, AuditVerify.self],
        defaultSubcommand: AuditList.self)
}

struct AuditList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the newest entries, oldest first.",
        discussion: """
            For example:

              branchline audit list --since 24h
            """)

    @Option(
        name: [.long, .short], help: "Only entries about this tenant.", transform: Parse.name)
    var tenant: Name?

    @Option(
        help: ArgumentHelp("Only entries of this last while.", valueName: "duration"),
        transform: Parse.duration)
    var since: Int64?

    @Option(help: "At most so many; 0 for all.")
    var limit = 100

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (entries, names) = try await AdminSession.run { session in
            var names = EntryNames()
            if !output.json { try await names.addTokens(session) }
            let query = tenant.map { [("tenant", $0.text)] } ?? []
            let begin = since.map { session.now - $0 } ?? 0
            var entries: [CoordinatorAPI.AuditEntry] = []
            try await session.pages(
                of: CoordinatorAPI.AuditEntry.self, "/v1/audit", query: query
            ) { page in
                for entry in page { names.add(entry) }
                entries += page.filter { $0.at >= begin }
                if limit > 0 { entries.removeFirst(max(0, entries.count - limit)) }
            }
            return (entries, names)
        }
        try output.print(entries) {
            var table = TextTable(
                header: ["NUMBER", "AT", "ACTOR", "ACTION", "TENANT", "SUBJECT", "DETAILS"])
            for entry in entries {
                let details = entry.details.sorted { $0.key < $1.key }
                    .map { "\($0.key)=\($0.value)" }
                table.append([
                    String(entry.number), Text.time(entry.at), names.actor(of: entry), entry.action,
                    entry.tenant ?? "-", names.subject(of: entry),
                    details.isEmpty ? "-" : details.joined(separator: " "),
                ])
            }
            return table.text
        }
    }
}

/// Names of the API tokens and nodes that entries are about, as far as the log and the coordinator
/// tell them.
private struct EntryNames: Sendable {
    private var tokens: [String: String] = [:]
    private var nodes: [String: String] = [:]

    /// Those of one tenant may not see the tokens.
    mutating func addTokens(_ session: AdminSession) async throws {
        do {
            let known: [CoordinatorAPI.APIToken] = try await session.all("/v1/api-tokens")
            for token in known { tokens[token.id] = token.name }
        } catch let problem as CoordinatorAPI.Problem where problem.status == 403 {}
    }

    mutating func add(_ entry: CoordinatorAPI.AuditEntry) {
        guard let name = entry.details["name"] else { return }
        if entry.action.hasPrefix("node.") { nodes[entry.subject] = name }
        if entry.action.hasPrefix("api-token.") { tokens[entry.subject] = name }
    }

    func actor(of entry: CoordinatorAPI.AuditEntry) -> String {
        let kind = "api-token:"
        guard entry.actor.hasPrefix(kind),
            let name = tokens[String(entry.actor.dropFirst(kind.count))]
        else { return entry.actor }
        return kind + name
    }

    func subject(of entry: CoordinatorAPI.AuditEntry) -> String {
        guard entry.action.hasPrefix("node."), let name = nodes[entry.subject] else {
            return entry.subject
        }
        return "\(name) (\(entry.subject))"
    }
}

struct AuditExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write the whole log as JSON lines, verified on the way.",
        discussion: """
            This needs an owner's or auditor's token of all tenants, as the entries of one tenant \
            alone are no chain. Keep the number and hash of the last entry elsewhere: they show \
            later whether the log was cut off or written anew. For example:

              branchline audit export audit.jsonl
            """)

    @Argument(
        help: "The file, which must not exist; - for standard output.", completion: .file())
    var file: String

    func run() async throws {
        let target = try target()
        let chain: AuditChain
        do {
            chain = try await AdminSession.run { session in try await export(session, target) }
            if file != "-" { try target.close() }
        } catch {
            if file != "-" { try? FileManager.default.removeItem(atPath: file) }
            throw error
        }
        Console.error("note: \(chain.count) entries, the last with hash \(chain.hash)")
    }

    private func export(
        _ session: AdminSession, _ target: FileDescriptor
    ) async throws -> AuditChain {
        let me: CoordinatorAPI.Identity = try await session.get("/v1/me")
        if let tenant = me.tenant {
            throw Failure.failed(
                "your token is of the tenant \(tenant) alone, whose entries are no whole chain; "
                    + "export with an owner's or auditor's token of all tenants, or see the "
                    + "entries with `branchline audit list --json`")
        }
        var chain = AuditChain()
        for try await line in try await session.client.lines("/v1/audit/export") {
            if line.isEmpty { continue }
            guard let entry = try? APIJSON.decode(CoordinatorAPI.AuditEntry.self, from: line)
            else { throw ClientFault.notACoordinator("a line of the log is no entry") }
            do throws(AuditChain.Fault) {
                try chain.accept(entry)
            } catch {
                throw Failure.failed("the coordinator's log is broken: \(error)")
            }
            do {
                _ = try target.writeAll(line + [UInt8(ascii: "\n")])
            } catch {
                throw Failure.failed("cannot write \(file): \(error)")
            }
        }
        return chain
    }

    private func target() throws -> FileDescriptor {
        if file == "-" { return .standardOutput }
        do {
            return try FileDescriptor.open(
                FilePath(file), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: .ownerReadWrite)
        } catch Errno.fileExists {
            throw Failure.badInput("\(file) exists already; give another name")
        } catch {
            throw Failure.badInput("cannot write \(file): \(error)")
        }
    }
}

struct AuditVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Verify an exported log, without the coordinator.",
        discussion: """
            The exit code is 1 where the log is broken, and the number of the first bad entry is \
            told. With --number and --hash, as noted at an earlier export, a log that was cut off \
            or written anew shows, too. For example:

              branchline audit verify audit.jsonl
            """)

    /// What `--json` prints.
    private struct Report: Encodable {
        let isIntact: Bool
        let entries: Int64
        let lastHash: String
        let firstBad: Int64?
        let fault: String?
    }

    @Argument(help: "The file; - for standard input.", completion: .file())
    var file: String

    @Option(help: "An entry's number that was noted before.")
    var number: Int64?

    @Option(help: "The hash of that entry.")
    var hash: String?

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (number == nil) == (hash == nil) else {
            throw ValidationError("--number and --hash belong together")
        }
    }

    func run() throws {
        var chain = AuditChain()
        let fault = try fault(&chain)
        let report = Report(
            isIntact: fault == nil, entries: chain.count, lastHash: chain.hash,
            firstBad: fault?.number, fault: fault?.text)
        try output.print(report) {
            if let fault { return Text.plain("broken at entry \(fault.number): \(fault.text)\n") }
            return "intact: \(chain.count) entries, the last with hash \(chain.hash)\n"
        }
        if fault != nil { throw ExitCode(1) }
    }

    /// - Parameter chain: Goes as far as the log holds together.
    private func fault(_ chain: inout AuditChain) throws -> (number: Int64, text: String)? {
        var lines = try LineReader(file)
        while let line = try lines.next() {
            if line.isEmpty { continue }
            guard let entry = try? APIJSON.decode(CoordinatorAPI.AuditEntry.self, from: line)
            else { return (chain.count + 1, "what stands there is no entry") }
            do throws(AuditChain.Fault) {
                try chain.accept(entry)
            } catch {
                return (chain.count + 1, error.description)
            }
            if chain.count == number, let hash, chain.hash != hash.lowercased() {
                return (chain.count, "its hash is not the one that was noted: written anew")
            }
        }
        if chain.count == 0 { return (1, "the log has no entries") }
        if let number, chain.count < number {
            return (chain.count + 1, "the log ends before entry \(number): it was cut off")
        }
        return nil
    }
}
