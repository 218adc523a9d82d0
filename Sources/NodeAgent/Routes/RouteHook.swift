import LinuxNetworking
public import Logging
import PacketFormats
public import TunnelEngine
import WireGuardConfiguration

/// Tells a program of the operator's which networks are behind this gateway now.
///
/// It is run as `PROGRAM up|down PREFIX INTERFACE TENANT`, once for each change and one after the
/// other; everything that is up is taken down at the end, unless another process goes on with the
/// tunnel.
public struct RouteHook: Sendable {
    let path: String
    let interface: String
    let tenant: String
    let control: TunnelControl
    let log: Logger

    public init(
        path: String, interface: String, tenant: String, control: TunnelControl, log: Logger
    ) {
        self.path = path
        self.interface = interface
        self.tenant = tenant
        self.control = control
        self.log = log
    }

    /// Looks at the peers until the task is cancelled.
    public func run() async {
        var presence = RoutePresence()
        while !Task.isCancelled {
            var pause = Self.pauseSeconds
            if let peers = try? await control.status().peers {
                let received = peers.map { ($0.publicKey, $0.receivedBytes, $0.allowedIPs) }
                let now = Int64(clamping: Clock.monotonicNanoseconds() / 1_000_000_000)
                for change in presence.update(received, at: now) { await tell(change) }
                if peers.count > Self.manyPeers { pause *= Self.manyPeersFactor }
            }
            try? await Task.sleep(for: .seconds(pause))
        }
        // The next process says anew what is up, and takes down what is not.
        guard !control.isHandedOver else { return }
        for change in presence.end() { await tell(change) }
    }

    private func tell(_ change: RoutePresence.Change) async {
        let arguments = [change.isUp ? "up" : "down", change.prefix.description, interface, tenant]
        log.debug("route hook: \(arguments.joined(separator: " "))")
        let fault = await Self.run(path, arguments)
        if let fault { log.error("route hook \(path) \(arguments[0]) \(change.prefix): \(fault)") }
    }

    /// Waits on a thread of its own, which the program may hold up.
    ///
    /// - Returns: Why it did not succeed.
    private static func run(_ path: String, _ arguments: [String]) async -> String? {
        await withCheckedContinuation { waiting in
            do {
                _ = try WorkerThread.start(name: "route-hook") { _ in
                    waiting.resume(returning: outcome(path, arguments))
                }
            } catch {
                waiting.resume(returning: "\(error)")
            }
        }
    }

    private static func outcome(_ path: String, _ arguments: [String]) -> String? {
        do {
            let code = try ChildProcess.start(path, arguments: [path] + arguments).wait()
            return code == 0 ? nil : "it ended with \(code)"
        } catch {
            return "\(error)"
        }
    }

    private static let pauseSeconds = 1
    /// From here on the peers are looked at less often.
    private static let manyPeers = 1_000
    private static let manyPeersFactor = 5
}
