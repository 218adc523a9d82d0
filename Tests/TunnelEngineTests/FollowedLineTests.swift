import EgressScheduling
import Glibc
import LinuxNetworking
import Logging
import TestSupport
import Testing
import WireGuardConfiguration

@testable import TunnelEngine

/// The line's rate as the control thread follows it; how well is the business of
/// `LinkRateFollowerTests`.
@Suite(.enabled(if: isRoot, "needs root"))
struct FollowedLineTests {
    private static let link = QoSSettings.Link(
        bitsPerSecond: 40_000_000, overheadBytes: 18, minimumBitsPerSecond: 2_000_000)

    @Test func lateProbesCutTheRateOfWorkers() throws {
        try inNewNamespace {
            let (engine, tunnel) = try made()
            engine.use(Self.link)
            #expect(rates(engine) == [38_000_000], "the first worker has all of the line")
            #expect(tunnel.qosStatus([]).following == .init(bitsPerSecond: 40_000_000))
            var line = Line()
            for _ in 0..<20 { line.probe(engine, tunnel, growth: 0) }
            #expect(rates(engine).isEmpty)
            for _ in 0..<10 { line.probe(engine, tunnel, growth: 50_000_000) }
            let status = tunnel.qosStatus([])
            let following = try #require(status.following)
            #expect(status.link == Self.link)
            #expect((2_000_000..<40_000_000).contains(following.bitsPerSecond))
            #expect(following.cause == .late && following.delayNanoseconds > 15_000_000)
            #expect(
                rates(engine).last == Int64(Double(following.bitsPerSecond) * 0.95),
                "without the line's being set anew")
            engine.use(Self.link)
            #expect(engine.follower?.bitsPerSecond == following.bitsPerSecond, "it is the same")
        }
    }

    @Test func aFixedLineStaysAsItIs() throws {
        try inNewNamespace {
            let (engine, tunnel) = try made()
            engine.use(.init(bitsPerSecond: 40_000_000))
            _ = rates(engine)
            var line = Line()
            for _ in 0..<30 { line.probe(engine, tunnel, growth: 50_000_000) }
            #expect(rates(engine).isEmpty && tunnel.qosStatus([]).following == nil)
            engine.use(Self.link)
            engine.use(nil)
            #expect(engine.follower == nil)
        }
    }

    @Test func unansweredProbesUnderLoadCutTheRate() throws {
        try inNewNamespace {
            let (engine, tunnel) = try made()
            engine.use(Self.link)
            var line = Line()
            for _ in 0..<20 { line.probe(engine, tunnel, growth: 0) }
            for _ in 0..<40 {
                line.pass(engine)
                engine.followLinkProbed(now: line.now)
                engine.followLinkByClock(now: line.now)
            }
            #expect(tunnel.qosStatus([]).following?.cause == .silence)
        }
    }

    // MARK: - Support

    /// Passes time, and what a full line takes in it.
    private struct Line {
        var now: UInt64 = 1_000_000_000_000
        private var delay: UInt64 = 10_000_000
        private var bytes: UInt64 = 0

        mutating func pass(_ engine: Engine) {
            now += 100_000_000
            bytes += 475_000
            engine.workers[0].noteSent(wireBytes: bytes)
        }

        mutating func probe(_ engine: Engine, _ tunnel: Tunnel, growth: UInt64) {
            pass(engine)
            delay += growth
            engine.followLink(
                DelaySample(
                    outwardDelay: Int64(delay) - 7_000_000_000, roundTrip: delay + 10_000_000,
                    peer: 3),
                of: tunnel, now: now)
        }
    }

    private func made() throws -> (Engine, Tunnel) {
        let engine = try Engine(
            signals: try SignalDescriptor([SIGUSR2]), options: .init(workers: 1, sharedPort: 0),
            log: Logger(label: "following") { _ in SwiftLogNoOpLogHandler() })
        let tun = try TunDevice.create(name: "bltun0", queueCount: 1)
        let listener = try UnixSocketListener(
            path: temporaryPath("\(UInt64.random(in: .min ... .max)).sock"))
        let control = try engine.add(TunnelSetup(name: "bltun0", tun: tun, listener: listener))
        return (engine, control)
    }

    /// What the first worker, which sleeps, has been told since the last time.
    private func rates(_ engine: Engine) -> [Int64?] {
        engine.workers[0].takeCommands().compactMap { command -> Int64?? in
            guard case .setLink(let line) = command else { return nil }
            return .some(line?.shape.bitsPerSecond)
        }
    }
}
