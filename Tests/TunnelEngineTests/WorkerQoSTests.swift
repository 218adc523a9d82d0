import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing
import WireGuardConfiguration
import WireGuardProtocol

@testable import TunnelEngine

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
        #expect(again.sojournMaxNanoseconds == 0, "it was asked for")
    }

    @Test func anotherProcessGoesOnWithTheSums() {
        let sets = [ClassCounters(), ClassCounters()]
        for (index, set) in sets.enumerated() {
            for trafficClass in TrafficClass.allCases {
                for kind in ClassCounters.Kind.allCases {
                    set.add(kind, 1 + index + kind.rawValue, of: trafficClass)
                }
            }
            set.noteSojourn(1, packets: 4, of: .token)
        }
        let next = ClassCounters()
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
        #expect(token.sojournCounts.first == 8)
    }
}
