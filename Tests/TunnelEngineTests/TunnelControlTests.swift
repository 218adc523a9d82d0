import Cryptography
import LinuxNetworking
import PacketFormats
import TestSupport
import Testing
import WireGuardConfiguration

@testable import TunnelEngine

/// Requests from within the process, without a tunnel.
@Suite struct TunnelControlQueueTests {
    private func outcome(
        _ body: () async throws(TunnelControlError) -> Void
    ) async -> TunnelControlError? {
        do {
            try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test func requestsBeyondTheLimitAreRefused() async throws {
        let control = try TunnelControl()
        let limit = EngineLimits.controlRequestsWaiting
        await withTaskGroup(of: TunnelControlError?.self) { group in
            for _ in 0..<limit + 3 {
                group.addTask {
                    await self.outcome { () throws(TunnelControlError) in
                        _ = try await control.status()
                    }
                }
            }
            for _ in 0..<3 {
                let refused = await group.next()
                #expect(refused == .busy)
            }
            let (requests, _, stops) = control.take()
            #expect(requests.count == limit)
            #expect(!stops)
            for request in requests { request.fail(.ended) }
            for await refused in group { #expect(refused == .ended) }
        }
    }

    @Test func nobodyWaitsForATunnelThatHasEnded() async throws {
        let control = try TunnelControl()
        async let waiting = outcome { () throws(TunnelControlError) in
            try await control.apply(DeviceSettings())
        }
        while control.bell.drain() == 0 { await Task.yield() }
        control.end()
        #expect(await waiting == .ended)
        let later = await outcome { () throws(TunnelControlError) in
            try await control.apply(DeviceSettings())
        }
        #expect(later == .ended)
        control.stop()
        control.end()
    }

    @Test func stopComesAfterWhatWasAskedForBefore() async throws {
        let control = try TunnelControl()
        async let waiting = outcome { () throws(TunnelControlError) in
            _ = try await control.status()
        }
        while control.bell.drain() == 0 { await Task.yield() }
        control.stop()
        let later = await outcome { () throws(TunnelControlError) in
            _ = try await control.status()
        }
        #expect(later == .ended)
        let (requests, _, stops) = control.take()
        #expect(requests.count == 1)
        #expect(stops)
        for request in requests { request.fail(.busy) }
        #expect(await waiting == .busy)
    }
}

/// Requests from within the process to tunnels that run.
@Suite(.enabled(if: isRoot, "needs root"))
struct TunnelControlTests {
    private let first = PrivateKey.generate(), second = PrivateKey.generate()

    private func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    private func refusal(
        _ settings: DeviceSettings, _ control: TunnelControl
    ) async -> TunnelControlError? {
        do {
            try await control.apply(settings)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [1, 2]) func changesAreInForceInTheirOrder(_ workers: Int) async throws {
        let tunnels = try RunningTunnels(workers: workers)
        let control = tunnels.controls[0]
        try await control.apply(
            DeviceSettings(
                privateKey: .set(first),
                peers: [
                    PeerSettings(
                        publicKey: second.publicKey, endpoint: Endpoint("127.0.0.1:9"),
                        allowedIPs: [.add(prefix("10.0.0.0/8"))])
                ]))
        let status = try await control.status()
        #expect(status.privateKey?.publicKey == first.publicKey)
        #expect(status.listenPort != 0)
        #expect(status.peers.map(\.publicKey) == [second.publicKey])
        #expect(try status.peers.first?.allowedIPs == [prefix("10.0.0.0/8")])
        for number in 1...50 as ClosedRange<UInt16> {
            try await control.apply(
                DeviceSettings(
                    peers: [
                        PeerSettings(
                            publicKey: second.publicKey, persistentKeepaliveSeconds: number)
                    ]))
            let seconds = try await control.status().peers.first?.persistentKeepaliveSeconds
            #expect(seconds == number)
        }
        try tunnels.stop()
        #expect(tunnels.ends.count == 1)
        #expect(await refusal(DeviceSettings(), control) == .ended)
    }

    @Test func profileStaysUntilItIsChanged() async throws {
        let tunnels = try RunningTunnels()
        let control = tunnels.controls[0]
        func profile(after change: PeerSettings) async throws -> TunnelProfile? {
            try await control.apply(DeviceSettings(peers: [change]))
            return try await control.status().peers.first?.profile
        }
        let key = second.publicKey
        #expect(try await profile(after: PeerSettings(publicKey: key)) == .wireguard)
        for wanted in [TunnelProfile.branchlineAES, .branchlineChaCha] {
            #expect(
                try await profile(after: PeerSettings(publicKey: key, profile: wanted)) == wanted)
            #expect(
                try await profile(
                    after: PeerSettings(publicKey: key, persistentKeepaliveSeconds: 0)) == wanted)
        }
        try await control.apply(
            DeviceSettings(replacePeers: true, peers: [PeerSettings(publicKey: key)]))
        let replaced = try await control.status().peers.first?.profile
        #expect(replaced == .wireguard, "a new peer has nothing of an old one")
        try tunnels.stop()
    }

    @Test func requestsMadeBeforeTheTunnelRunsAreCarriedOut() async throws {
        let tunnels = try RunningTunnels(runsAtOnce: false)
        let control = tunnels.controls[0]
        async let status = control.status()
        tunnels.release()
        #expect(try await status.peers.isEmpty)
        try tunnels.stop()
    }

    @Test func tunnelThatNeverRunsLeavesNobodyWaiting() async throws {
        let tunnels = try RunningTunnels(runsAtOnce: false)
        let control = tunnels.controls[0]
        async let refused = refusal(DeviceSettings(), control)
        tunnels.abandon()
        #expect(await refused == .ended)
        try tunnels.stop()
        #expect(tunnels.ends.isEmpty)
    }

    @Test func refusedRequestChangesNothing() async throws {
        let tunnels = try RunningTunnels()
        let control = tunnels.controls[0]
        let stranger = PrivateKey.generate().publicKey
        try await control.apply(
            DeviceSettings(
                privateKey: .set(first), peers: [PeerSettings(publicKey: second.publicKey)]))
        let port = try await control.status().listenPort
        let others = [
            DeviceSettings(
                privateKey: .set(second), rotatesPrivateKey: true, listenPort: port ^ 1),
            DeviceSettings(
                listenPort: port ^ 1,
                peers: [
                    PeerSettings(publicKey: stranger),
                    PeerSettings(publicKey: second.publicKey, successorKey: first.publicKey),
                ]),
            DeviceSettings(
                peers: [
                    PeerSettings(publicKey: stranger),
                    PeerSettings(
                        publicKey: second.publicKey,
                        endpoint: Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: 0)),
                ]),
            DeviceSettings(
                peers: Array(
                    repeating: PeerSettings(publicKey: stranger),
                    count: ConfigurationLimits.peersMax + 1)),
        ]
        for settings in others {
            guard case .refused(let error) = await refusal(settings, control) else {
                Issue.record("not refused")
                continue
            }
            #expect(error.kind == .invalid)
        }
        let status = try await control.status()
        #expect(status.privateKey?.publicKey == first.publicKey)
        #expect(status.listenPort == port)
        #expect(status.peers.map(\.publicKey) == [second.publicKey])
        try tunnels.stop()
    }

    @Test func removedPeerAndItsRouteAreGone() async throws {
        let tunnels = try RunningTunnels()
        let control = tunnels.controls[0]
        let keys = (0..<300).map { _ in PrivateKey.generate().publicKey }
        try await control.apply(
            DeviceSettings(
                privateKey: .set(first), peers: keys.map { PeerSettings(publicKey: $0) }))
        await withTaskGroup(of: Void.self) { group in
            for key in keys.dropFirst() {
                group.addTask {
                    let removed = PeerSettings(publicKey: key, remove: true)
                    #expect(await refusal(DeviceSettings(peers: [removed]), control) == nil)
                }
            }
        }
        #expect(try await control.status().peers.map(\.publicKey) == [keys[0]])
        try tunnels.stop()
    }

    @Test func allowedIPsFollowEveryChange() async throws {
        let tunnels = try RunningTunnels()
        let control = tunnels.controls[0]
        let keys = [first.publicKey, second.publicKey]
        let (wide, narrow) = try (prefix("10.0.0.0/8"), prefix("10.1.0.0/16"))
        typealias Step = (peer: Int, replaces: Bool, changes: [PeerSettings.AllowedIPChange])
        let steps: [(Step, expected: [[IPPrefix]])] = [
            ((0, false, [.add(wide), .add(narrow)]), [[wide, narrow], []]),
            ((0, false, [.add(wide)]), [[wide, narrow], []]),
            ((0, true, [.add(wide), .add(narrow)]), [[wide, narrow], []]),
            ((0, true, [.add(narrow), .add(wide)]), [[narrow, wide], []]),
            ((1, false, [.remove(wide)]), [[narrow, wide], []]),
            ((1, true, [.add(wide)]), [[narrow], [wide]]),
            ((0, true, [.add(narrow)]), [[narrow], [wide]]),
            ((0, false, [.remove(narrow), .remove(narrow)]), [[], [wide]]),
            ((1, true, []), [[], []]),
            ((1, true, []), [[], []]),
        ]
        try await control.apply(DeviceSettings(peers: keys.map { PeerSettings(publicKey: $0) }))
        for (step, expected) in steps {
            try await control.apply(
                DeviceSettings(
                    peers: [
                        PeerSettings(
                            publicKey: keys[step.peer], replaceAllowedIPs: step.replaces,
                            allowedIPs: step.changes)
                    ]))
            #expect(try await control.status().peers.map(\.allowedIPs) == expected, "\(step)")
        }
        try tunnels.stop()
    }

    // MARK: Rotation

    /// Two tunnels that know each other.
    private func connectedTunnels() async throws -> RunningTunnels {
        let tunnels = try RunningTunnels(count: 2)
        let (left, right) = (tunnels.controls[0], tunnels.controls[1])
        try await left.apply(DeviceSettings(privateKey: .set(first)))
        try await right.apply(DeviceSettings(privateKey: .set(second)))
        for (control, other, key) in [(left, right, second), (right, left, first)] {
            let port = try await other.status().listenPort
            try await control.apply(
                DeviceSettings(
                    peers: [
                        PeerSettings(
                            publicKey: key.publicKey,
                            endpoint: Endpoint(
                                address: IPAddress(ipv4: 0x7f00_0001), port: port),
                            allowedIPs: [.add(prefix("10.0.0.0/8"))])
                    ]))
        }
        return tunnels
    }

    private func peer(_ control: TunnelControl) async throws -> PeerStatus {
        try #require(try await control.status().peers.first)
    }

    private func setKeepalive(_ seconds: UInt16, _ control: TunnelControl) async throws {
        let key = try await peer(control).publicKey
        try await control.apply(
            DeviceSettings(
                peers: [PeerSettings(publicKey: key, persistentKeepaliveSeconds: seconds)]))
    }

    /// Lets one end break the silence, and waits until the other has heard of it: for at least a
    /// minute, in which a handshake that is lost is tried again.
    private func reaches(_ sender: TunnelControl, _ receiver: TunnelControl) async throws -> Bool {
        let before = try await peer(receiver).receivedBytes
        try await setKeepalive(1, sender)
        for _ in 0..<6_000 {
            if try await peer(receiver).receivedBytes > before {
                try await setKeepalive(0, sender)
                return true
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test func sessionsOutliveBothKeys() async throws {
        let tunnels = try await connectedTunnels()
        let (left, right) = (tunnels.controls[0], tunnels.controls[1])
        #expect(try await reaches(left, right))
        #expect(try await reaches(right, left))
        let before = try await peer(left)
        #expect(before.lastHandshakeSeconds > 0)

        let successor = PrivateKey.generate()
        try await left.apply(
            DeviceSettings(privateKey: .set(successor), rotatesPrivateKey: true))
        #expect(try await reaches(left, right), "one end has switched")
        #expect(try await reaches(right, left), "one end has switched")
        try await right.apply(
            DeviceSettings(
                peers: [
                    PeerSettings(
                        publicKey: first.publicKey, updateOnly: true,
                        successorKey: successor.publicKey)
                ]))
        #expect(try await reaches(left, right), "both have")
        #expect(try await reaches(right, left), "both have")

        let after = try await peer(left)
        #expect(after.lastHandshakeSeconds == before.lastHandshakeSeconds)
        #expect(after.lastHandshakeNanoseconds == before.lastHandshakeNanoseconds)
        let status = try await peer(right)
        #expect(status.publicKey == successor.publicKey)
        #expect(try status.allowedIPs == [prefix("10.0.0.0/8")])
        #expect(status.endpoint?.port == (try await left.status().listenPort))

        // As with the text protocol, a key that is set ends the sessions; the next handshake is
        // with the new key of the other end.
        try await right.apply(DeviceSettings(privateKey: .remove))
        try await right.apply(DeviceSettings(privateKey: .set(second)))
        #expect(try await reaches(right, left))
        let renewed = try await peer(right)
        #expect(renewed.lastHandshakeNanoseconds != status.lastHandshakeNanoseconds)
        try tunnels.stop()
    }
}
