import Cryptography
import Glibc
import LinuxNetworking
import Logging
import PacketFormats
import Synchronization
import SystemPackage
import TestSupport
import Testing
import WireGuardConfiguration

@testable import InferenceTraffic
@testable import TunnelEngine

/// What the control thread makes of settings, in engines that do not run.
@Suite(.enabled(if: isRoot, "needs root"))
struct TunnelQoSTests {
    private let words = Words()

    private func engine(workers: Int = 2, sharedPort: UInt16? = nil) throws -> Engine {
        let engine = try Engine(
            signals: try SignalDescriptor([SIGUSR2]),
            options: .init(workers: workers, sharedPort: sharedPort),
            log: Logger(label: "qos") { [words] _ in WarningLog(words: words) })
        // Not by a descriptor's number, which another test may be given next.
        let listener = try UnixSocketListener(
            path: temporaryPath("\(UInt64.random(in: .min ... .max)).sock"))
        let tun = try TunDevice.create(name: "bltun0", queueCount: workers)
        try engine.add(TunnelSetup(name: "bltun0", tun: tun, listener: listener))
        return engine
    }

    /// What workers were told of the tunnel's settings since the last time.
    private func told(_ engine: Engine) -> [[WorkerQoS]] {
        defer { engine.pendingCommands = engine.workers.map { _ in [] } }
        return engine.pendingCommands.map { commands in
            commands.compactMap { command in
                guard case .tunnel(_, .setQoS(let qos)) = command else { return nil }
                return qos
            }
        }
    }

    @Test func rulesAreMadeOnceAndEachWorkerHasAnInstance() throws {
        try inNewNamespace {
            let engine = try engine(workers: 2)
            let tunnel = try #require(engine.tunnels[0])
            var settings = QoSSettings()
            settings.services = [
                .init(
                    name: "chat", destination: try #require(IPPrefix("10.0.0.0/8")),
                    transport: .tcp, ports: [443...443], trafficClass: .token)
            ]
            tunnel.use(settings)
            let told = told(engine)
            try #require(told.map(\.count) == [1, 1])
            #expect(told[0][0].rules !== told[1][0].rules)
            #expect(told[0][0].rules.number == told[1][0].rules.number)
            #expect(told[1][0].rules.services.map(\.name) == ["chat"])
        }
    }

    @Test func whatIsSaidOfPeersMakesNoNewRules() throws {
        try inNewNamespace {
            let engine = try engine(workers: 1)
            let tunnel = try #require(engine.tunnels[0])
            var settings = QoSSettings()
            settings.budget = .init(bytes: 1_000)
            tunnel.use(settings)
            #expect(told(engine).map(\.count) == [1])
            settings.peers[PrivateKey.generate().publicKey] = .init(ceiling: .bulk)
            tunnel.use(settings)
            #expect(told(engine).map(\.count) == [0])
            settings.budget = .init(bytes: 2_000)
            tunnel.use(settings)
            let last = told(engine)
            #expect(last.map(\.count) == [1] && last[0][0].budget === tunnel.budget)
        }
    }

    @Test func aTenantsOwnLineDoesNotCountAndIsWarnedOf() throws {
        try inNewNamespace {
            let engine = try engine(sharedPort: 0)
            let tunnel = try #require(engine.tunnels[0])
            var settings = QoSSettings()
            settings.link = .init(bitsPerSecond: 5_000_000)
            tunnel.use(settings)
            tunnel.use(settings)
            #expect(engine.link == nil)
            #expect(tunnel.qosStatus([]).link == nil)
            #expect(words.warnings.count == 1)
            #expect(words.warnings.first?.contains("5000000 bit/s does not count") == true)
            engine.use(.init(bitsPerSecond: 1_000_000_000))
            var report = WorkerReport()
            report.linkWireBytes = 77
            let status = tunnel.qosStatus([report])
            #expect(status.link?.bitsPerSecond == 1_000_000_000 && status.isLinkShared)
            #expect(status.linkWireBytes == 0, "other tenants' bytes are not told")
        }
    }

    @Test func theOnlyTunnelsLineIsItsOwn() throws {
        try inNewNamespace {
            let engine = try engine()
            let tunnel = try #require(engine.tunnels[0])
            var settings = QoSSettings()
            settings.link = .init(bitsPerSecond: 5_000_000)
            tunnel.use(settings)
            var report = WorkerReport()
            report.linkWireBytes = 77
            let status = tunnel.qosStatus([report])
            #expect(status.link == settings.link && !status.isLinkShared)
            #expect(status.linkWireBytes == 77 && words.warnings.isEmpty)
        }
    }
}

/// What was warned of.
private final class Words: Sendable {
    private let kept = Mutex<[String]>([])

    var warnings: [String] { kept.withLock { $0 } }

    func note(_ warning: String) { kept.withLock { $0.append(warning) } }
}

private struct WarningLog: LogHandler {
    let words: Words
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        if event.level == .warning { words.note("\(event.message)") }
    }
}
