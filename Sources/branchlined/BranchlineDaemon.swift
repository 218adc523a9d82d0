import ArgumentParser
import Foundation
import LinuxNetworking
import Logging
import PacketFormats
import TunnelEngine
import WireGuardConfiguration

/// The tunnel daemon: a drop-in for `wireguard-go IFNAME`.
@main
struct BranchlineDaemon: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "branchlined",
        abstract: "Runs one WireGuard-compatible tunnel interface.",
        discussion: """
            Creates the interface, listens on /var/run/wireguard/IFNAME.sock for wg(8), \
            wg-quick(8) and branchline, and ends on SIGTERM or when the interface is deleted.

            EXAMPLES:
              sudo branchlined wg0
              sudo LOG_LEVEL=debug branchlined --foreground wg0
              sudo WG_QUICK_USERSPACE_IMPLEMENTATION=branchlined wg-quick up wg0

            ENVIRONMENT:
              LOG_LEVEL              silent, error (default), info, debug or verbose. Messages go to
                                     standard error; in the background, where LOG_LEVEL is not
                                     set, to the system's log
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
        help: "DSCP of handshake messages, 0 to 63. (default: 34, AF41)")
    var handshakeDSCP: UInt8 = 34

    @Flag(
        inversion: .prefixedNo,
        help: "Copy the ECN field outwards; turn it off for peers that ignore the path's marks.")
    var copyECN = true

    @Argument(help: "Name of the interface, 1 to 15 characters.")
    var interface: String

    func validate() throws {
        if let workers { try Self.check(workers, of: "--workers") }
        guard handshakeDSCP < 64 else {
            throw ValidationError("--handshake-dscp takes 0 to 63")
        }
        if let fault = InterfaceName.fault(in: interface) {
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
        let environment = DaemonEnvironment()
        let workers = try workers ?? Self.workers(environment)
        if foreground || environment.isForeground {
            try serve(environment, workers ?? ProcessInfo.processInfo.activeProcessorCount)
        } else {
            try BackgroundProcess.restartSelf(
                arguments: CommandLine.arguments, adding: environment.foregroundMark)
        }
    }

    /// Refuses in the variable what the option refuses.
    private static func workers(_ environment: DaemonEnvironment) throws -> Int? {
        guard let text = environment.workers else { return nil }
        let workers = Int(text) ?? 0
        try check(workers, of: "BRANCHLINE_WORKERS")
        return workers
    }

    /// Serves the interface in this process until the end of it.
    private func serve(_ environment: DaemonEnvironment, _ workers: Int) throws {
        let readiness = BackgroundProcess.Readiness.inherited()
        let signals = try SignalDescriptor([SIGTERM, SIGINT])
        let log = environment.makeLogger(label: interface, isInBackground: readiness != nil)
        var options = Tunnel.Options(workers: workers)
        options.handshakeTrafficClass = handshakeDSCP << 2
        options.copiesECN = copyECN
        let tun = try openDevice(environment, queueCount: options.workers)
        let listener = try openListener(environment, tun.name)
        let tunnel = try Tunnel(
            tun: tun, listener: listener, signals: signals, options: options, log: log)
        log.info("serving \(tun.name)")
        readiness?.announce(keepingOutput: environment.keepsOutput)
        switch tunnel.run() {
        case .stopped: log.info("stopped")
        case .deviceRemoved: log.info("the interface was deleted")
        }
    }

    private func openDevice(
        _ environment: DaemonEnvironment, queueCount: Int
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
