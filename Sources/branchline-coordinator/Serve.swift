import ArgumentParser
import CLinux
import ControlModel
import Coordinator
import Foundation
import Logging
import ServiceLifecycle
import UnixSignals

/// Serves until it is told to stop.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve the coordinator's interface over HTTPS.",
        discussion: """
            At its first start it prints its pin, and where the set-up code for `branchline admin \
            init` is. For example:

              branchline-coordinator serve
              branchline-coordinator serve --public-url https://hq.example:8443
              branchline-coordinator serve --postgresql "host=db.example dbname=branchline"
            """)

    @OptionGroup var storage: StorageOptions

    @Option(help: "Where to listen (default: 0.0.0.0:8443).")
    var listen: String?

    @Option(
        name: .customLong("public-url"),
        help: "How others reach it, https://HOST[:PORT] (default: this machine's name).")
    var publicURL: String?

    @Option(help: "Certificate chain as PEM (default: one of its own, known by its pin).")
    var tlsCertificate: String?

    @Option(help: "Its private key as PEM.")
    var tlsKey: String?

    @Option(help: "OpenID Connect configuration, a JSON file.")
    var oidc: String?

    @Option(help: "trace, debug, info, notice, warning or error (default: info).")
    var logLevel: String?

    @Option(help: "Requests of one client address, a second (default: 1000).")
    var rateLimit: Double?

    @Option(help: "Enrolments and set-ups of one client address, a second (default: 50).")
    var enrolmentRateLimit: Double?

    @Option(help: "Requests of one API token or node, a second (default: 500).")
    var callerRateLimit: Double?

    @Option(help: "Failed authentications of one client address, a second (default: 0.5).")
    var failureRateLimit: Double?

    @Option(help: "Connections at once that are not watch streams.")
    var connections: Int?

    @Option(help: "Connections at once of one client address.")
    var connectionsPerAddress: Int?

    @Option(help: "Watch streams at once.")
    var watchers: Int?

    func run() async throws {
        do {
            try await serve()
        } catch let fault as StateFault {
            throw ProgramFault(fault.description, code: .unusable).exit()
        } catch let problem as CoordinatorAPI.Problem {
            throw ProgramFault(problem.detail, code: .storage).exit()
        }
    }

    private func serve() async throws {
        let log = try makeLog()
        let settings = try settings()
        let files = clinux_raise_descriptor_limit()
        let folder = try StateFolder(path: storage.stateFolder)
        let lock = try storage.kind() == .sqlite ? StateLock(folder) : nil
        defer { withExtendedLifetime(lock) {} }
        let database = try await storage.open(folder, log)
        let server = try await CoordinatorServer(
            settings: settings, folder: folder, storage: database, log: log
        ) { port in
            log.info("listening on port \(port)", metadata: ["descriptors": "\(files)"])
        }
        tell(server, settings)
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: log))
        defer { log.info("stopped") }
        try await group.run()
        await database.close()
    }

    private func settings() throws -> CoordinatorSettings {
        var settings = try CoordinatorSettings(
            listen: listen ?? Environment["LISTEN"] ?? "0.0.0.0:8443",
            publicURL: publicURL ?? Environment["PUBLIC_URL"],
            hostName: ProcessInfo.processInfo.hostName,
            tlsCertificate: tlsCertificate ?? Environment["TLS_CERTIFICATE"],
            tlsKey: tlsKey ?? Environment["TLS_KEY"], oidc: oidc ?? Environment["OIDC"],
            version: CoordinatorProgram.version)
        try settings.limits.requests.set("RATE_LIMIT", rateLimit)
        try settings.limits.enrolments.set("ENROLMENT_RATE_LIMIT", enrolmentRateLimit)
        try settings.limits.principal.set("CALLER_RATE_LIMIT", callerRateLimit)
        try settings.limits.failures.set("FAILURE_RATE_LIMIT", failureRateLimit)
        try set(&settings.limits.connectionsMax, "CONNECTIONS", connections)
        try set(
            &settings.limits.connectionsPerAddressMax, "CONNECTIONS_PER_ADDRESS",
            connectionsPerAddress)
        try set(&settings.limits.watchersMax, "WATCHERS", watchers)
        return settings
    }

    private func set(_ limit: inout Int, _ option: String, _ given: Int?) throws {
        guard let number = try Environment.number(option, given.map(Double.init)) else { return }
        guard (1...1_000_000).contains(number) else {
            throw ValidationError("\(Environment.flag(of: option)) must be 1 to 1,000,000.")
        }
        limit = Int(number)
    }

    private func makeLog() throws -> Logger {
        let text = logLevel ?? Environment["LOG_LEVEL"] ?? "info"
        guard let level = Logger.Level(rawValue: text) else {
            throw ValidationError(
                "\(text) is no log level: trace, debug, info, notice, warning, error or critical.")
        }
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        var log = Logger(label: "branchline-coordinator")
        log.logLevel = level
        return log
    }

    /// What an administrator needs to go on.
    private func tell(_ server: CoordinatorServer, _ settings: CoordinatorSettings) {
        var text = "Coordinator at \(settings.publicURL), pin \(server.pin.base64URL)\n"
        if let path = server.setupCodePath {
            text += """
                No organisation yet. On the security admin's machine:

                    branchline admin init \(settings.publicURL) --pin \(server.pin.base64URL) \
                --setup-code CODE

                CODE is in \(path).

                """
        }
        FileHandle.standardOutput.write(Data(text.utf8))
    }
}

extension Rate {
    /// A burst of ten seconds goes with it.
    fileprivate mutating func set(_ option: String, _ given: Double?) throws {
        guard let perSecond = try Environment.number(option, given) else { return }
        guard perSecond > 0, perSecond <= 1_000_000 else {
            throw ValidationError(
                "\(Environment.flag(of: option)) must be above 0, at most 1,000,000 a second.")
        }
        self = Rate(burst: max(10, perSecond * 10), perSecond: perSecond)
    }
}
