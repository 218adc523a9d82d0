import ArgumentParser
import LinuxNetworking
import Logging
import NodeAgent
import SystemPackage
import TunnelEngine
import WireGuardConfiguration

/// Letting a newer process go on, and going on in the place of an older one.
extension BranchlineDaemon {
    /// Without it the daemon serves as ever, and only a restart brings a newer one.
    func offerHandover(_ engine: Engine, of interface: String, _ log: Logger) {
        do {
            let listener = try UnixSocketListener(path: Takeover.path(of: interface))
            try engine.offerHandover(on: listener, note: HandoverNote(agent, qos: qosPath).text)
        } catch {
            log.warning("`branchline upgrade` will not work: \(error)")
        }
    }

    /// Goes on in the place of a running daemon, or ends and leaves that as it is.
    func takeOver(
        _ interface: String, _ signals: SignalDescriptor, _ environment: DaemonEnvironment,
        _ readiness: BackgroundProcess.Readiness?, _ log: Logger
    ) throws {
        let takeover = try Takeover(path: Takeover.path(of: interface))
        let engine = try takeover.makeEngine(signals: signals, log: log)
        guard let tunnel = engine.onlyTunnel else {
            throw ValidationError("the running daemon serves no interface of its own")
        }
        let waited = try takeover.complete(engine)
        Self.tell(
            interface, takeover.offer.programVersion, takeover.process, waited, readiness, log)
        let note = HandoverNote(text: takeover.offer.note)
        // Without an agent the tunnel keeps the settings that it has.
        let agent = try note.agent.map { folder in
            try SuccessorAgent(
                folder: MembershipFolder(path: folder), interface: tunnel.interface,
                control: tunnel.control,
                qosFile: note.qos.map { QoSFile(path: $0) } ?? .standard(of: tunnel.interface),
                log: log)
        }
        readiness?.announce(keepingOutput: environment.keepsOutput)
        let end = engine.run()
        agent?.finish(tunnel.status().peers)
        Self.log(end, log)
    }

    static func tell(
        _ served: String, _ version: String, _ process: Int32, _ nanoseconds: UInt64,
        _ readiness: BackgroundProcess.Readiness?, _ log: Logger
    ) {
        let words = "\(served): version \(Release.version) (process \(ProcessSetup.processID)) in "
            + "the place of version \(version) (process \(process)); "
            + "packets waited \((nanoseconds + 500_000) / 1_000_000) ms"
        log.notice("\(words)")
        // Whoever started it reads this; in the foreground the log is enough.
        if readiness != nil {
            _ = try? FileDescriptor.standardOutput.writeAll("\(words)\n".utf8)
        }
    }
}
