import AccessControl
import Cryptography
import EgressScheduling
import Glibc
import LinuxNetworking
import Logging
import PacketFormats
import PacketMemory
import SystemPackage
import TestSupport
import Testing
import WireGuardConfiguration
import WireGuardProtocol

@testable import TunnelEngine

@Suite(.enabled(if: isRoot, "needs root"))
struct HandoverTests {
    private static let now = Clock.monotonicNanoseconds()

    @Test func anotherEngineHasAllThatTheFirstOneHad() throws {
        try inNewNamespace {
            let old = try engine(names: ["bltun0", "bltun1"])
            let (first, second) = (try tunnel(0, of: old), try tunnel(1, of: old))
            let keys = (1...5).map { _ in PrivateKey.generate() }
            try first.apply(
                DeviceSettings(
                    privateKey: .set(.generate()),
                    peers: keys.enumerated().map { index, key in
                        PeerSettings(
                            publicKey: key.publicKey,
                            endpoint: Endpoint("192.0.2.\(index):51820"),
                            persistentKeepaliveSeconds: UInt16(index * 10),
                            allowedIPs: [
                                .add(try #require(IPPrefix("10.0.\(index).0/24"))),
                                .add(try #require(IPPrefix("fd00:\(index)::/64"))),
                            ])
                    }))
            try first.apply(
                DeviceSettings(peers: [PeerSettings(publicKey: keys[1].publicKey, remove: true)]))
            first.finishChanges()
            let shared = try #require(IPPrefix("10.9.0.0/16"))
            for key in keys[2...3] {
                try first.apply(
                    DeviceSettings(peers: [
                        PeerSettings(
                            publicKey: key.publicKey, allowedIPs: [.share(shared)],
                            preference: .init(level: 1, priority: 7, weight: 3))
                    ]))
            }
            first.finishChanges()
            // The same networks and another key.
            try second.apply(
                DeviceSettings(
                    privateKey: .set(.generate()),
                    peers: [
                        PeerSettings(
                            publicKey: keys[0].publicKey,
                            allowedIPs: [.add(try #require(IPPrefix("10.0.0.0/24")))])
                    ]))
            second.finishChanges()
            let id = try #require(first.device.peerID(keys[2].publicKey))
            let local = LocalAddress(
                address: try #require(IPAddress("192.0.2.200")), interfaceIndex: 0)
            first.peers[id]?.localAddress = local
            first.peers[id]?.lostPackets = 7
            let limits = TenantLimits(
                weight: 3, minimumRate: 1_000_000, maximumRate: 2_000_000, peersMax: 9)
            first.use(limits)
            let rules = AccessRules(
                members: [.init(prefix: try #require(IPPrefix("10.0.1.0/24")), groups: ["a", "b"])],
                services: [
                    .init(name: "s", destinations: [try #require(IPPrefix("10.0.2.0/24"))])
                ],
                rules: [
                    .init(
                        name: "r", from: ["a"], to: ["s", "*"], transport: .tcp,
                        ports: [80...81, 443...443]),
                    .init(name: "t", from: ["*"], to: ["b"], transport: nil, ports: []),
                ])
            first.access = AccessFilter(
                rules, state: AccessState(key: (1, 2), now: Self.now))
            var qos = QoSSettings()
            qos.services = [
                .init(
                    name: "chat", destination: try #require(IPPrefix("10.0.2.0/24")),
                    transport: .tcp, ports: [8_000...8_001], trafficClass: .token)
            ]
            qos.peers[keys[2].publicKey] = .init(
                link: .init(bitsPerSecond: 20_000_000), ceiling: .prompt, outerMarking: .copy)
            qos.peers[PrivateKey.generate().publicKey] = .init(ceiling: .bulk)
            qos.budget = .init(bytes: 1_000_000)
            first.use(qos)
            first.budget?.spend(bytes: 250_000, now: Self.now)
            old.use(
                .init(
                    bitsPerSecond: 1_000_000_000, overheadBytes: 18,
                    minimumBitsPerSecond: 1_000_000))
            old.follower?.resume(at: 77_000_000)
            first.counters[1].classes.add(.bytes, 77, of: .prompt)
            first.counters[0].classes.noteSojourn(1, packets: 3, of: .prompt)
            first.handshakeDrops.add(.invalidMAC1, 5)
            first.counters[1].drops.add(.replayed, 4)
            old.handshakeDrops.add(.unknownType, 3)
            old.workers[1].counters.drops.add(.unknownReceiverIndex, 2)

            let state = state(of: old)
            let new = try successor(of: old)
            try restore(state, to: new)
            for before in [first, second] {
                let after = try tunnel(before.number, of: new)
                #expect(UAPI.serialize(after.status()) == UAPI.serialize(before.status()))
                #expect(after.settings.mtu == before.settings.mtu)
                #expect(after.settings.isUp == before.settings.isUp)
                #expect(after.limits.limits == before.limits.limits)
            }
            #expect(try tunnel(0, of: new).access?.rules == rules)
            let routes = try tunnel(0, of: new).settings
            #expect(routes.allowedIPs.owners(of: shared).count == 2)
            #expect(routes.preferences == first.settings.preferences)
            #expect(try tunnel(1, of: new).access == nil)
            #expect(try tunnel(0, of: new).qos == qos)
            let budget = try #require(try tunnel(0, of: new).budget)
            #expect(abs(budget.missing(now: Self.now).bytes - 0.25) < 0.001, "it is not full again")
            #expect(budget.missing(now: Self.now).tokens == 0)
            #expect(try tunnel(1, of: new).qos == QoSSettings())
            #expect(new.link == old.link && new.link?.minimumBitsPerSecond == 1_000_000)
            #expect(new.follower?.bitsPerSecond == 77_000_000)
            #expect(try tunnel(1, of: new).sharesOneWorker)
            let status = try tunnel(0, of: new).qosStatus([])
            let prompt = try #require(status.classes.first { $0.trafficClass == .prompt })
            #expect(prompt.bytes == 77 && prompt.sojournCounts.first == 3)
            #expect(status.paths.map(\.peer) == [keys[2].publicKey])
            #expect(status.link == old.link && status.isLinkShared && status.linkWireBytes == 0)
            let peer = try #require(try tunnel(0, of: new).peers[id])
            #expect(peer.localAddress == local && peer.lostPackets == 7)
            let drops = try dropCounts(new, tunnel: 0)
            #expect(drops["invalid_mac1"] == 5 && drops["replayed"] == 4)
            let common = Dictionary(
                new.drops().map { ($0.reason, $0.count) }, uniquingKeysWith: { $1 })
            #expect(common["unknown_type"] == 3 && common["unknown_receiver_index"] == 2)
            // What the second wrote is what the first wrote, but for the order of peers.
            #expect(self.state(of: new).count == state.count)
            new.letGo()
        }
    }

    @Test func cutOrForeignStateIsRefused() throws {
        try inNewNamespace {
            let old = try engine(names: ["bltun0"])
            try tunnel(0, of: old).apply(
                DeviceSettings(
                    privateKey: .set(.generate()),
                    peers: [
                        PeerSettings(
                            publicKey: PrivateKey.generate().publicKey,
                            allowedIPs: [.add(try #require(IPPrefix("10.0.0.0/24")))])
                    ]))
            let state = state(of: old)
            var generator = SeededGenerator(seed: 8)
            let counts = [0, 1, 4, 5, 6, state.count - 1, state.count + 1]
                + (0..<20).map { _ in Int.random(in: 6..<state.count, using: &generator) }
            for count in counts {
                let new = try successor(of: old)
                let cut = Array((state + [0]).prefix(count))
                #expect(throws: SnapshotError.self) { try restore(cut, to: new) }
                new.letGo()
            }
            let other = try engine(names: ["bltun7", "bltun8"])
            #expect(throws: SnapshotError.self) { try restore(state, to: other) }
            // The first one is as it was.
            #expect(try tunnel(0, of: old).tun.isAttached)
        }
    }

    @Test func offerIsReadAsItWasWritten() throws {
        var options = Engine.Options(workers: 3, sharedPort: 51_820)
        options.handshakeTrafficClass = 0x88
        options.copiesECN = false
        let offer = HandoverOffer(
            programVersion: "1.2.3", note: "/var/lib/branchline/bl0", options: options,
            hasSockets: true, handoverPath: "/run/branchline/bl0.handover",
            tunnels: [
                .init(number: 0, name: "acme", queueCount: 3, listenerPath: "/run/a.sock"),
                .init(number: 9, name: "büro", queueCount: 1, listenerPath: "/run/b.sock"),
            ])
        let bytes = HandoverMessage.offer.bytes { offer.write(to: &$0) }
        try ByteArena.withCopy(of: bytes) { region in
            var reader = SnapshotReader(region.region(from: 1))
            let read = try HandoverOffer(from: &reader)
            #expect(reader.remainingCount == 0)
            #expect(read.lanes == options.laneCount && read.sharedPort == 51_820)
            #expect(read.descriptorCount == 1 + 3 * read.lanes + 1 + 4 + 2)
            #expect(HandoverMessage.offer.bytes { read.write(to: &$0) } == bytes)
            for count in 0..<region.count - 1 {
                var reader = SnapshotReader(region.region(at: 1, count: count))
                #expect(throws: SnapshotError.self) { try HandoverOffer(from: &reader) }
            }
        }
    }

    @Test func nobodyToTakeOverFromIsTold() {
        let path = temporaryPath("nobody.handover")
        #expect(throws: HandoverError.nobody(path: path)) { try Takeover(path: path) }
    }

    // MARK: - Support

    private func engine(names: [String]) throws -> Engine {
        let engine = try makeEngine()
        for name in names {
            let tun = try TunDevice.create(name: name, queueCount: 2)
            // Not by a descriptor's number, which another test may be given next.
            let listener = try UnixSocketListener(
                path: temporaryPath("\(UInt64.random(in: .min ... .max)).sock"))
            try engine.add(TunnelSetup(name: name, tun: tun, listener: listener))
        }
        return engine
    }

    /// An engine with the devices of another one, as a new process makes it.
    private func successor(of old: Engine) throws -> Engine {
        let new = try makeEngine()
        for tunnel in old.tunnels.values {
            let tun = try TunDevice.adopt(
                fileDescriptors: tunnel.tun.queues.map { dup($0.fileDescriptor) })
            let listener = try UnixSocketListener(
                adopting: dup(tunnel.listener.fileDescriptor), path: tunnel.listener.path,
                isFileForeign: true)
            try new.adopt(
                TunnelSetup(name: tunnel.name, tun: tun, listener: listener), tunnel.number)
        }
        return new
    }

    private func makeEngine() throws -> Engine {
        try Engine(
            signals: try SignalDescriptor([SIGUSR2]), options: .init(workers: 2, sharedPort: 0),
            log: Logger(label: "handover") { _ in SwiftLogNoOpLogHandler() })
    }

    private func tunnel(_ number: TunnelID, of engine: Engine) throws -> Tunnel {
        try #require(engine.tunnels[number])
    }

    private func dropCounts(_ engine: Engine, tunnel number: TunnelID) throws -> [String: UInt64] {
        let tunnel = try tunnel(number, of: engine)
        let drops = Engine.drops(
            tunnel.counters.map(\.drops) + [tunnel.handshakeDrops],
            tunnel.counters.map(\.events))
        return Dictionary(drops.map { ($0.reason, $0.count) }, uniquingKeysWith: { $1 })
    }

    private func state(of engine: Engine) -> [UInt8] {
        var counting = SnapshotWriter()
        engine.writeState(to: &counting, now: Self.now)
        let arena = ByteArena(count: counting.count)
        return withExtendedLifetime(arena) {
            var writer = SnapshotWriter(into: arena.whole)
            engine.writeState(to: &writer, now: Self.now)
            return arena.whole.bytes
        }
    }

    private func restore(_ state: [UInt8], to engine: Engine) throws {
        try ByteArena.withCopy(of: state) { region in
            var reader = SnapshotReader(region)
            try engine.restoreState(from: &reader, now: Self.now)
        }
    }
}
