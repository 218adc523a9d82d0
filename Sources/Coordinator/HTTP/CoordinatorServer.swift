public import ControlModel
import FoundationEssentials
import Glibc
import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore
import NIOPosix
public import ServiceLifecycle
import SystemPackage
import Telemetry

/// The coordinator as a service: storage, operations and their interface over HTTPS.
public final class CoordinatorServer: ServiceLifecycle.Service {
    /// SHA-256 of the server's key, for those who join.
    public let pin: ServerPin
    /// Where the set-up code is; `nil` once the organisation is made.
    public let setupCodePath: String?

    private let settings: CoordinatorSettings
    private let service: CoordinatorService
    private let tls: TLSContexts
    private let oidc: OIDCVerifier?
    private let setupCode: SetupCode
    private let log: Logger
    private let onListening: @Sendable (Int) -> Void

    /// Prepares everything that can fail before anybody is served.
    ///
    /// - Parameter onListening: Gets the port once connections are accepted.
    /// - Throws: `StateFault` or a `CoordinatorAPI.Problem`, each with what to do.
    public init(
        settings: CoordinatorSettings, folder: StateFolder, storage: any Storage, log: Logger,
        onListening: @escaping @Sendable (Int) -> Void
    ) async throws {
        self.settings = settings
        self.log = log
        self.onListening = onListening
        let now: @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970) }
        let setupCode = SetupCode(folder: folder)
        self.setupCode = setupCode
        let service = try await CoordinatorService(
            storage: storage, now: now, setupCodeHash: { setupCode.currentHash }, log: log)
        self.service = service
        if try await Self.isSetUp(service) {
            setupCode.remove()
            setupCodePath = nil
        } else {
            try setupCode.prepare()
            setupCodePath = folder.path(of: SetupCode.fileName)
        }
        tls = try TLSContexts(Self.identity(settings, folder), log: log)
        pin = tls.pin
        oidc = try settings.oidc.map {
            try OIDCVerifier(configuration: OIDCConfiguration(file: $0), now: now)
        }
    }

    public func run() async throws {
        let counters = HTTPCounters()
        let hub = WatchHub(
            source: service, limits: settings.limits, counters: counters, log: log)
        let app = try await application(hub, counters)
        let log = log
        try await withGracefulShutdownHandler {
            do {
                try await app.run()
            } catch let error as IOError where error.errnoCode != 0 {
                throw listenFault(error)
            }
        } onGracefulShutdown: {
            log.info("stopping: no new requests, watching nodes are told goodbye")
            // At once: the server waits for all its answers, and a stream is one.
            hub.shutDown()
        }
        try? await service.maintain(isEnd: true)
    }

    // MARK: Parts

    private func listenFault(_ error: IOError) -> StateFault {
        let place = "\(settings.host):\(settings.port)"
        return switch error.errnoCode {
        case EADDRINUSE:
            StateFault(
                "cannot listen on \(place): another program does. Stop it, or choose another port "
                    + "with --listen.")
        case EACCES:
            StateFault(
                "cannot listen on \(place): this user may not. Choose a port from 1024 on with "
                    + "--listen.")
        case EADDRNOTAVAIL:
            StateFault(
                "cannot listen on \(place): this machine does not have that address. Choose "
                    + "another with --listen.")
        default: StateFault("cannot serve on \(place): \(Errno(rawValue: error.errnoCode)).")
        }
    }

    private func application(
        _ hub: WatchHub, _ counters: HTTPCounters
    ) async throws -> Application<APIResponder> {
        let limits = settings.limits
        let counts = ConnectionCounts(limits: limits)
        let group = MultiThreadedEventLoopGroup.singleton
        let loops = try await HTTPLoops(
            group: group, limits: limits, counts: counts, counters: counters, hub: hub)
        let metrics = RequestMetrics()
        let routes = CoordinatorRoutes(
            service: service, hub: hub, gate: WatchGate(places: 4), counts: counts,
            setupCode: setupCode,
            metrics: MetricsPage(
                service: service, requests: metrics, counters: counters, counts: counts,
                log: log),
            version: settings.version)
        let responder = APIResponder(
            table: RouteTable(routes.all),
            authenticator: Authenticator(service: service, oidc: oidc), limits: limits,
            rates: ConnectionRates(limits: limits), metrics: metrics, counters: counters,
            log: log)
        let (tls, onListening) = (tls, onListening)
        return Application(
            responder: responder,
            server: HTTPServerBuilder { responder in
                CoordinatorChannel(responder: responder, tls: tls, loops: loops, limits: limits)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(settings.host, port: settings.port), backlog: 1024),
            services: [Background(service: service, hub: hub, tls: tls, log: log)],
            onServerRunning: { onListening($0.localAddress?.port ?? 0) },
            eventLoopGroupProvider: .shared(group), logger: quiet)
    }

    /// Hummingbird's own messages are for its users; requests are logged here.
    private var quiet: Logger {
        var logger = log
        if logger.logLevel > .debug { logger.logLevel = .warning }
        return logger
    }

    private static func identity(
        _ settings: CoordinatorSettings, _ folder: StateFolder
    ) -> @Sendable () throws -> TLSIdentity {
        let names = ServerNames(
            publicURL: settings.publicURL, listenHost: settings.host,
            hostName: settings.hostName
        ).names
        return {
            if let certificate = settings.tlsCertificate, let key = settings.tlsKey {
                return try TLSIdentity(certificateFile: certificate, keyFile: key)
            }
            return try TLSIdentity(folder: folder, names: names, now: Date())
        }
    }

    private static func isSetUp(_ service: CoordinatorService) async throws -> Bool {
        do {
            _ = try await service.organisation(
                by: Principal(actor: "coordinator", role: .owner, tenant: nil))
            return true
        } catch let problem as CoordinatorAPI.Problem
            where problem.reason == CoordinatorAPI.Reason.notSetUp.rawValue
        {
            return false
        }
    }
}

/// What runs beside the server: changes to watchers, certificate, maintenance.
private struct Background: ServiceLifecycle.Service {
    let service: CoordinatorService
    let hub: WatchHub
    let tls: TLSContexts
    let log: Logger

    func run() async throws {
        let announcements = service.storage.tenantChanges
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await hub.run(announcements) }
                group.addTask { await tls.run() }
                group.addTask { await maintain() }
            }
        }
    }

    private static let maintenanceInterval = Duration.seconds(10)

    private func maintain() async {
        while (try? await Task.sleep(for: Self.maintenanceInterval)) != nil {
            do {
                try await service.maintain()
            } catch {
                log.warning("maintenance is put off: \(error)")
            }
        }
    }
}
