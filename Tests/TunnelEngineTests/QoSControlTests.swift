import Cryptography
import LinuxNetworking
import PacketFormats
import TestSupport
import Testing
import WireGuardConfiguration

@testable import TunnelEngine

/// Settings of classes, and what is told of them, of tunnels that run.
@Suite(.enabled(if: isRoot, "needs root"))
struct QoSControlTests {
    private let own = PrivateKey.generate(), other = PrivateKey.generate().publicKey

    private func refusal(_ settings: QoSSettings, _ control: TunnelControl) async -> String? {
        do {
            try await control.setQoS(settings)
            return nil
        } catch .refused(let error) {
            return error.reason
        } catch {
            return "\(error)"
        }
    }

    @Test(arguments: [1, 2]) func statusIsOfTheSettingsInForce(_ workers: Int) async throws {
        let tunnels = try RunningTunnels(workers: workers)
        let control = tunnels.controls[0]
        let standard = try await control.qos()
        #expect(standard.isClassifying && standard.link == nil && standard.paths.isEmpty)
        #expect(standard.classes.map(\.trafficClass) == TrafficClass.allCases)
        #expect(
            standard.flowCapacity <= EngineLimits.flowsKnown
                && standard.flowCapacity > EngineLimits.flowsKnown - workers)
        var settings = QoSSettings()
        settings.isClassifying = false
        settings.link = .init(bitsPerSecond: 20_000_000, overheadBytes: 18)
        try await control.setQoS(settings)
        let status = try await control.qos()
        #expect(!status.isClassifying && status.link == settings.link)
        #expect(status.classes.allSatisfy { $0.packets == 0 && $0.queuedPackets == 0 })
        #expect(status.classes.allSatisfy { $0.sojournCounts.count == 13 })
        #expect(try await control.flows(FlowQuery()).isEmpty)
        try await control.setQoS(QoSSettings())
        #expect(try await control.qos().link == nil)
        try tunnels.stop()
    }

    @Test func settingsWaitForTheirPeersAndFollowTheirKeys() async throws {
        let tunnels = try RunningTunnels(workers: 2)
        let control = tunnels.controls[0]
        var settings = QoSSettings()
        let link = QoSSettings.Link(bitsPerSecond: 5_000_000)
        settings.peers[other] = .init(link: link)
        try await control.setQoS(settings)
        #expect(try await control.qos().paths.isEmpty)
        try await control.apply(
            DeviceSettings(privateKey: .set(own), peers: [PeerSettings(publicKey: other)]))
        #expect(try await control.qos().paths == [.init(peer: other, link: link)])
        let next = PrivateKey.generate().publicKey
        try await control.apply(
            DeviceSettings(peers: [PeerSettings(publicKey: other, successorKey: next)]))
        #expect(try await control.qos().paths == [.init(peer: next, link: link)])
        try await control.apply(
            DeviceSettings(peers: [PeerSettings(publicKey: next, remove: true)]))
        #expect(try await control.qos().paths.isEmpty)
        try tunnels.stop()
    }

    @Test func settingsThatCannotBeChangeNothing() async throws {
        let tunnels = try RunningTunnels()
        let control = tunnels.controls[0]
        var settings = QoSSettings()
        settings.link = .init(bitsPerSecond: 1_000_000)
        try await control.setQoS(settings)
        settings.link = .init(bitsPerSecond: 0)
        #expect(await refusal(settings, control)?.contains("rate") == true)
        settings.link = nil
        settings.weights = [.control: 3]
        #expect(await refusal(settings, control)?.contains("control") == true)
        #expect(try await control.qos().link?.bitsPerSecond == 1_000_000)
        try tunnels.stop()
    }

    /// How a request ended.
    private enum Outcome: Hashable {
        case answered, refused(TunnelControlError)
    }

    private static func outcome(
        _ request: () async throws(TunnelControlError) -> Bool
    ) async -> Outcome {
        do throws(TunnelControlError) {
            let isWhole = try await request()
            #expect(isWhole, "nothing of an answer is missing")
            return .answered
        } catch {
            return .refused(error)
        }
    }

    @Test(.timeLimit(.minutes(5))) func nobodyWaitsForWorkersThatHaveEnded() async throws {
        let tunnels = try RunningTunnels(workers: 2)
        let control = tunnels.controls[0]
        let outcomes = await withTaskGroup(of: Outcome?.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    await Self.outcome { () async throws(TunnelControlError) in
                        try await control.qos().classes.map(\.trafficClass)
                            == TrafficClass.allCases
                    }
                }
                group.addTask {
                    await Self.outcome { () async throws(TunnelControlError) in
                        try await control.flows(FlowQuery()).isEmpty
                    }
                }
            }
            group.addTask {
                control.stop()
                return nil
            }
            return await group.reduce(into: [Outcome]()) { if let one = $1 { $0.append(one) } }
        }
        #expect(outcomes.count == 400)
        #expect(outcomes.allSatisfy { [.answered, .refused(.ended)].contains($0) })
        try tunnels.stop()
        let late = await Self.outcome { () async throws(TunnelControlError) in
            _ = try await control.qos()
            return false
        }
        #expect(late == .refused(.ended))
    }
}
