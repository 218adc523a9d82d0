import ArgumentParser
import Foundation
import Gateway
import LinuxNetworking
import Logging
import NodeAgent
import PacketFormats
import TunnelEngine
import WireGuardConfiguration

/// The tunnel daemon: a drop-in for `wireguard-go IFNAME`.
@main
struct BranchlineDaemon: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "branchlined",
        abstract: "Runs one WireGuard-compatible tunnel interface, or a gateway with many.",
        discussion: """
            Creates the interface, listens on /var/run/wireguard/IFNAME.sock for wg(8), \
            wg-quick(8) and branchline, and ends on SIGTERM or when the interface is deleted.

            With --gateway it serves every tenant that has a file in the folder, each with an \
            interface and a configuration socket of its own, over one UDP port. SIGHUP makes it \
            read the folder again; `branchline gateway` writes it.

            EXAMPLES:
              sudo branchlined wg0
              sudo branchlined --gateway /var/lib/branchline/gateway
              sudo LOG_LEVEL=debug branchlined --foreground wg0
              sudo WG_QUICK_USERSPACE_IMPLEMENTATION=branchlined wg-quick up wg0
              sudo branchlined --qos ./qos.json wg0

            ENVIRONMENT:
              LOG_LEVEL              silent, error (default), info, debug or verbose;
                                     to standard error, or to the system's log in
                                     the background where LOG_LEVEL is not set
              WG_TUN_FD              an open TUN device to use, by descriptor number
              WG_UAPI_FD             a listening configuration socket to use
              WG_PROCESS_FOREGROUND  1: stay in the foreground
              BRANCHLINE_WORKERS     as --workers
            """,
        version: Release.version)

    @Flag(name: [.short, .long], help: "Stay in the foreground.")
    var foreground = false

    @Option(help: "Data-plane threads. (default: one per processor)")
    var workers: Int?

    @Option(
        name: .customLong("handshake-dscp"),
        help: "DSCP of handshake messages, 0 to 63; 34 is AF41.")
    var handshakeDSCP: UInt8 = 34

    @Flag(
        inversion: .prefixedNo,
        help: "Copy the ECN field outwards; turn it off for peers that ignore the path's marks.")
    var copyECN = true

    @Option(
        help: ArgumentHelp(
            "Follow the coordinator that this membership is of; `branchline join` makes it.",
            valueName: "folder"),
        completion: .directory)
    var agent: String?

    @Flag(
        help: ArgumentHelp(
            "Go on in the place of the daemon that serves the interface, with its sessions and "
                + "options; `branchline upgrade` does this."))
    var takeOver = false

    @Option(
        help: ArgumentHelp(
            "Serve the tenants that have files in this folder.", valueName: "folder"),
        completion: .directory)
    var gateway: String?

    @Option(
        help: ArgumentHelp(
            "Local QoS policy. (default: \(QoSFile.folder)/IFNAME.json, if it is there)",
            valueName: "file"),
        completion: .file())
    var qos: String?

    @Argument(help: "Name of the interface, 1 to 15 characters.")
    var interface: String?

    func validate() throws {
        if let workers { try Self.check(workers, of: "--workers") }
        guard handshakeDSCP < 64 else {
            throw ValidationError("--handshake-dscp takes 0 to 63")
        }
        if takeOver, workers != nil || agent != nil || qos != nil {
            throw ValidationError(
                "--take-over goes on with the workers, agent and QoS policy that there are")
        }
        guard (interface == nil) == (gateway != nil) else {
            throw ValidationError("give the name of one interface, or --gateway with a folder")
        }
        if gateway != nil && agent != nil {
            throw ValidationError("--agent is for one interface; tenants name their memberships")
        }
        if gateway != nil && qos != nil {
            throw ValidationError("--qos is for one interface; tenants name their policies")
        }
        if let qos, !FileManager.default.fileExists(atPath: qos) {
            throw ValidationError("there is no QoS policy \(qos): name a file that is there")
        }
        if let interface, let fault = InterfaceName.fault(in: interface) {
            throw ValidationError("'\(interface)' can't name an interface: \(fault)")
        }
    }

    private static func check(_ workers: Int, of setting: String) throws {
        guard (1...EngineLimits.workersMax).contains(workers) else {
            throw ValidationError("\(setting) takes 1 to \(EngineLimits.workersMax)")
        }
    }

    func run() throws {
        ProcessSetup.prepare()
        ProcessSetup.forbidCoreFiles()
        ProcessSetup.setName("branchlined")
        let environment = DaemonEnvironment()
        let workers = try workers ?? Self.workers(environment)
        if foreground || environment.isForeground {
            if let gateway {
                try serveTenants(of: GatewayFolder(path: gateway), environment, workers)
            } else if let interface {
                try serve(
                    interface, environment,
                    workers ?? ProcessInfo.processInfo.activeProcessorCount)
            }
        } else {
            try BackgroundProcess.restartSelf(
                arguments: CommandLine.arguments, adding: environment.foregroundMark)
        }
    }

    /// Also for a successor, whose working folder may be another.
    var qosPath: String? { qos.map { URL(fileURLWithPath: $0).path } }

    /// Refuses in the variable what the option refuses.
    private static func workers(_ environment: DaemonEnvironment) throws -> Int? {
        guard let text = environment.workers else { return nil }
        let workers = Int(text) ?? 0
        try check(workers, of: "BRANCHLINE_WORKERS")
        return workers
    }

    /// Serves the interface in this process until the end of it.
    private func serve(
        _ interface: String, _ environment: DaemonEnvironment, _ workers: Int
    ) throws {
        let readiness = BackgroundProcess.Readiness.inherited()
        let signals = try SignalDescriptor([SIGTERM, SIGINT])
        let log = environment.makeLogger(label: interface, isInBackground: readiness != nil)
        var options = Engine.Options(workers: workers)
        options.handshakeTrafficClass = handshakeDSCP << 2
        options.copiesECN = copyECN
        if takeOver { return try takeOver(interface, signals, environment, readiness, log) }
        let tun = try openDevice(interface, environment, queueCount: options.workers)
        let listener = try openListener(environment, tun.name)
        let engine = try Engine(signals: signals, options: options, log: log)
        let tunnel = try engine.add(
            TunnelSetup(name: tun.name, tun: tun, listener: listener))
        let qosFile = qosPath.map { QoSFile(path: $0) } ?? .standard(of: tun.name)
        let agent = try agent.map { folder in
            try AgentService(
                folder: MembershipFolder(path: folder), interface: tun.name,
                control: tunnel.control, log: log, qosFile: qosFile)
        }
        if agent == nil { qosFile.bringInForce(by: tunnel.control, log: log) }
        offerHandover(engine, of: tun.name, log)
        log.info("serving \(tun.name)")
        readiness?.announce(keepingOutput: environment.keepsOutput)
        let end = engine.run()
        agent?.finish(tunnel.status().peers)
        Self.log(end, log)
    }

    static func log(_ end: Engine.End, _ log: Logger) {
        switch end {
        case .stopped: log.info("stopped")
        case .deviceRemoved: log.info("the interface was deleted")
        case .handedOver: log.info("another process serves the interface now")
        }
    }

    /// Serves a gateway's tenants in this process until a signal ends it.
    private func serveTenants(
        of folder: GatewayFolder, _ environment: DaemonEnvironment, _ workers: Int?
    ) throws {
        let readiness = BackgroundProcess.Readiness.inherited()
        let log = environment.makeLogger(label: "gateway", isInBackground: readiness != nil)
        let service = try takeOver
            ? GatewayService(takingOver: folder, log: log)
            : GatewayService(
                folder,
                GatewayService.Choices(
                    workers: workers, handshakeTrafficClass: handshakeDSCP << 2,
                    copiesECN: copyECN),
                processorCount: ProcessInfo.processInfo.activeProcessorCount, log: log)
        if let takenOver = service.takenOver {
            Self.tell(
                "the gateway", takenOver.version, takenOver.process, takenOver.nanoseconds,
                readiness, log)
        }
        let keepsOutput = environment.keepsOutput
        try service.run {
            log.info("serving the tenants of \(folder.path)")
            readiness?.announce(keepingOutput: keepsOutput)
        }
        log.info("stopped")
    }

    private func openDevice(
        _ interface: String, _ environment: DaemonEnvironment, queueCount: Int
    ) throws -> TunDevice {
        if let descriptor = try environment.descriptor("WG_TUN_FD") {
            return try TunDevice.adopt(fileDescriptor: descriptor)
        }
        return try TunDevice.create(name: interface, queueCount: queueCount)
    }

    private func openListener(
        _ environment: DaemonEnvironment, _ name: String
    ) throws -> UnixSocketListener {
        if let descriptor = try environment.descriptor("WG_UAPI_FD") {
            let path = UnixSocketListener.configurationPath(of: name)
            do {
                return try UnixSocketListener(adopting: descriptor, path: path)
            } catch {
                throw ValidationError(
                    "WG_UAPI_FD names descriptor \(descriptor), which is no listening socket")
            }
        }
        return try UnixSocketListener(path: UnixSocketListener.configurationPath(of: name))
    }
}
