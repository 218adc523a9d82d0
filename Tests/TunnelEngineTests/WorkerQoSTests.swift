import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing
import WireGuardConfiguration

@testable import TunnelEngine
@testable import WireGuardProtocol

/// Classes, lines and marks of a worker's frames.
@Suite struct WorkerQoSTests {
    /// Of a flow of its own, and with a number to know it by.
    func datagram(
        _ serial: Int, port: UInt16 = 50_000, trafficClass: UInt8 = 0, byteCount: Int = 100
    ) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.identification = UInt16(serial)
            $0.sourcePort = 40_000 + UInt16(serial % 1_000)
            $0.destinationPort = port
            $0.trafficClass = trafficClass
            $0.payload = PacketBuilder.pattern(byteCount, serial)
        }.bytes
    }

    func established() throws -> WorkerBenchPair {
        let pair = try WorkerBenchPair()
        pair.establish()
        return pair
    }

    func settings(_ change: (inout QoSSettings) -> Void) -> TunnelCommand {
        var settings = QoSSettings()
        change(&settings)
        return .setQoS(WorkerQoS(settings))
    }

    func service(_ trafficClass: TrafficClass, port: UInt16) -> QoSSettings.Service {
        QoSSettings.Service(
            name: trafficClass.name, destination: IPPrefix("0.0.0.0/0").unsafelyUnwrapped,
            transport: .any, ports: [port...port], trafficClass: trafficClass)
    }

    /// What the right hands to its device, when `count` packets have come.
    func deliver(_ count: Int, _ pair: WorkerBenchPair) -> [[UInt8]] {
        var delivered: [[UInt8]] = []
        _ = pair.work { delivered += pair.right.delivered(); return delivered.count >= count }
        return delivered
    }

    func dscp(_ packet: [UInt8]) -> UInt8 { packet[1] >> 2 }

    @Test func ceilingsHoldClassesDown() throws {
        let pair = try established()
        pair.left.post([
            settings {
                $0.services = [service(.token, port: 1)]
                $0.ceiling = .prompt
            }
        ])
        pair.left.offer(datagram(1, port: 1))
        #expect(deliver(1, pair).count == 1)
        #expect(pair.left.counters.classes[.packets, .prompt] == 1)
        var peer = PeerQoS()
        peer.ceiling = .bulk
        pair.left.post([.setPeerQoS(WorkerBench.peer, peer)])
        pair.left.offer(datagram(1, port: 1))
        #expect(deliver(1, pair).count == 1)
        #expect(pair.left.counters.classes[.packets, .bulk] == 1)
    }

    @Test func marksBeyondThePeersCeilingAreTakenBack() throws {
        let pair = try established()
        var peer = PeerQoS()
        peer.ceiling = .bulk
        pair.right.post([.setPeerQoS(WorkerBench.peer, peer)])
        let claims = datagram(1, trafficClass: 46 << 2)
        let modest = datagram(2, trafficClass: 1 << 2)
        pair.left.offer(claims)
        #expect(deliver(1, pair).map(dscp) == [12], "AF12")
        pair.left.offer(modest)
        #expect(deliver(1, pair) == [modest])
        pair.right.post([.setPeerQoS(WorkerBench.peer, PeerQoS())])
        pair.left.offer(claims)
        #expect(deliver(1, pair) == [claims])
    }

    @Test func nobodyClaimsMoreThanAllPeersMay() throws {
        let pair = try established()
        let claims = datagram(1, trafficClass: 48 << 2), modest = datagram(2, trafficClass: 46 << 2)
        pair.right.post([settings { $0.peersCeiling = .token }])
        pair.left.offer(claims)
        #expect(deliver(1, pair).map(dscp) == [18], "CS6 is network control")
        pair.left.offer(modest)
        #expect(deliver(1, pair) == [modest])
        var peer = PeerQoS()
        peer.ceiling = .prompt
        pair.right.post([.setPeerQoS(WorkerBench.peer, peer)])
        pair.left.offer(modest)
        #expect(deliver(1, pair).map(dscp) == [10], "the lesser of both")
    }

    /// The outer header claims no more for a host behind this side than this side and the peer may.
    @Test(arguments: [
        (nil, nil, nil, 46), (.background, nil, nil, 1), (nil, nil, .bulk, 12),
        (nil, .token, nil, 46), (nil, .prompt, .activation, 10), (.bulk, .token, .prompt, 12),
    ] as [(TrafficClass?, TrafficClass?, TrafficClass?, UInt8)])
    func copiedMarksAreHeldToTheCeilings(
        _ own: TrafficClass?, _ peers: TrafficClass?, _ peer: TrafficClass?, _ outer: UInt8
    ) throws {
        let pair = try established()
        var qos = PeerQoS()
        qos.ceiling = peer ?? PeerQoS.noCeiling
        pair.left.post([
            settings {
                $0.outerMarking = .copy
                $0.ceiling = own
                $0.peersCeiling = peers
            },
            .setPeerQoS(WorkerBench.peer, qos),
        ])
        pair.left.step()
        let packet = ByteArena(datagram(1, trafficClass: 0xB8))
        let view = try #require(IPPacket(packet.whole))
        #expect(
            pair.left.worker.mark(view, .background, to: WorkerBench.peer, of: 0) >> 2 == outer)
        #expect(view.dscp.rawValue == 46, "the inner header is its sender's")
        withExtendedLifetime(packet) {}
    }

    /// A peer's traffic to another peer is held to both ceilings.
    @Test func aPeersCeilingHoldsOnAnotherPeersLine() throws {
        let pair = try established()
        var allowed = AllowedIPs()
        allowed.insert(try #require(IPPrefix("10.0.0.2/32")), WorkerBench.peer)
        allowed.insert(try #require(IPPrefix("10.0.0.3/32")), 1)
        pair.left.post([
            .route(RoutingTable(allowed)), .addPeer(1, PeerActivity()),
            settings {
                $0.services = [service(.token, port: 1)]
                $0.peersCeiling = .token
            },
        ])
        func trafficClass(from source: UInt8) throws -> TrafficClass {
            pair.left.step()
            let packet = ByteArena(
                PacketBuilder.udp4.with {
                    $0.source = [10, 0, 0, source]
                    $0.destinationPort = 1
                }.bytes)
            let view = try #require(IPPacket(packet.whole))
            let place = pair.left.worker.place(view, segmentByteCount: 0, of: 0)
            #expect(place.peer == WorkerBench.peer)
            withExtendedLifetime(packet) {}
            return place.trafficClass
        }
        #expect(try trafficClass(from: 3) == .token)
        var limited = PeerQoS()
        limited.ceiling = .background
        pair.left.post([.setPeerQoS(1, limited)])
        #expect(try trafficClass(from: 3) == .background)
        #expect(try trafficClass(from: 4) == .token, "of this side")
        pair.left.post([.setPeerQoS(1, limited), .setPeerQoS(1, PeerQoS())])
        #expect(try trafficClass(from: 3) == .token)
        pair.left.post([.setPeerQoS(1, limited), .removePeer(1), .removePeer(1)])
        pair.left.step()
        #expect(pair.left.worker.tunnels[0].limitedPeerCount == 0)
    }

    @Test(arguments: QoSSettings.OuterMarking.allCases)
    func outerHeaderIsMarkedAsThePeerHasIt(_ marking: QoSSettings.OuterMarking) throws {
        let pair = try established()
        pair.left.step()
        let packet = ByteArena(datagram(1, trafficClass: 46 << 2 | 1))
        let view = try #require(IPPacket(packet.whole))
        var peer = QoSSettings.Peer()
        for isPeers in [false, true] {
            peer.outerMarking = isPeers ? marking : nil
            pair.left.post([
                settings { $0.outerMarking = isPeers ? .off : marking },
                .setPeerQoS(WorkerBench.peer, PeerQoS(peer, parts: 1)),
            ])
            pair.left.step()
            let outer = pair.left.worker.mark(view, .token, to: WorkerBench.peer, of: 0)
            switch marking {
            case .off: #expect(outer == 1)
            case .byClass: #expect(outer == 18 << 2 | 1)
            case .copy: #expect(outer == 46 << 2 | 1)
            }
        }
        withExtendedLifetime(packet) {}
    }

    @Test func overBudgetIsBackgroundAndNothingIsCut() throws {
        let pair = try established()
        let budget = TenantBudget(bytes: 500, tokens: nil, perSeconds: 86_400)
        pair.left.post([.setQoS(WorkerQoS(QoSSettings(), budget: budget))])
        for serial in 0..<10 { pair.left.offer(datagram(serial)) }
        #expect(deliver(10, pair).count == 10)
        let classes = pair.left.counters.classes
        let over = classes[.packets, .background]
        #expect(over >= 6 && over < 9)
        #expect(over + classes[.packets, .token] == 10)
        #expect(pair.left.counters.events[.overBudget] == over)
    }

    @Test func signalledFrameIsMarkedOrDropped() throws {
        let pair = try established()
        pair.left.step()
        for (trafficClass, outcome) in [(0, nil), (1, 3), (2, 3)] as [(UInt8, UInt8?)] {
            let packet = ByteArena(datagram(1, trafficClass: trafficClass))
            let view = try #require(IPPacket(packet.whole))
            #expect(pair.left.worker.bearsSignal(view, .bulk, of: 0) == (outcome != nil))
            #expect(view.trafficClass == outcome ?? trafficClass)
            withExtendedLifetime(packet) {}
        }
        #expect(pair.left.counters.events[.earlyDrop] == 1)
        #expect(pair.left.counters.events[.earlyMark] == 2)
        #expect(pair.left.counters.classes[.earlyDrops, .bulk] == 1)
        #expect(pair.left.counters.classes[.marks, .bulk] == 2)
    }
}

@Suite struct ClassCountersTests {
    @Test func sojournsFallBetweenTheirBounds() {
        let counters = ClassCounters()
        let bounds = QoSStatus.sojournBoundsMicroseconds
        for bound in bounds {
            counters.noteSojourn(UInt64(bound) * 1_000, packets: 1, of: .bulk)
            counters.noteSojourn(UInt64(bound) * 1_000 + 1, packets: 2, of: .bulk)
        }
        counters.noteSojourn(0, packets: 5, of: .token)
        var bulk = QoSStatus.ClassStatus(trafficClass: .bulk)
        counters.report(into: &bulk)
        #expect(bulk.sojournCounts == [1] + Array(repeating: 3, count: bounds.count - 1) + [2])
        #expect(bulk.sojournMaxNanoseconds == 500_000_001)
        counters.report(into: &bulk)
        #expect(bulk.sojournCounts.last == 4, "reports add up")
        var again = QoSStatus.ClassStatus(trafficClass: .bulk)
        counters.report(into: &again)
        #expect(again.sojournMaxNanoseconds == 500_000_001, "asking changes nothing")
    }

    @Test func anotherProcessGoesOnWithTheSums() {
        let sets = [ClassCounters(), ClassCounters()]
        for (index, set) in sets.enumerated() {
            for trafficClass in TrafficClass.allCases {
                for kind in ClassCounters.Kind.allCases where kind != .sojournMax {
                    set.add(kind, 1 + index + kind.rawValue, of: trafficClass)
                }
            }
            set.noteSojourn(UInt64(700 - 200 * index), packets: 4, of: .token)
        }
        let next = ClassCounters()
        next.noteSojourn(600, packets: 1, of: .token)
        next.noteSojourn(800, packets: 1, of: .bulk)
        for trafficClass in TrafficClass.allCases {
            next.add(ClassCounters.sums(of: trafficClass, in: sets), to: trafficClass)
        }
        for trafficClass in TrafficClass.allCases {
            for kind in ClassCounters.Kind.allCases where kind != .sojournMax {
                #expect(next[kind, trafficClass] == UInt64(3 + 2 * kind.rawValue))
            }
        }
        var token = QoSStatus.ClassStatus(trafficClass: .token)
        next.report(into: &token)
        #expect(token.sojournCounts.first == 9)
        #expect(token.sojournMaxNanoseconds == 700, "the longest, not a sum")
        var bulk = QoSStatus.ClassStatus(trafficClass: .bulk)
        next.report(into: &bulk)
        #expect(bulk.sojournMaxNanoseconds == 800)
    }
}
