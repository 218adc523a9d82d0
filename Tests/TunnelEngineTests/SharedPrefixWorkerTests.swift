import Cryptography
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import TunnelEngine
@testable import WireGuardProtocol

/// A worker whose two peers both have 10.0.0.0/24, and the workers of those peers.
@Suite struct SharedPrefixWorkerTests {
    private struct Bench {
        let branch: WorkerBench
        let gateways: [WorkerBench]

        init() throws {
            let here = Sessions.pair(0), there = Sessions.pair(1)
            branch = try WorkerBench(here.0, allowed: "10.9.9.9/32")
            gateways = try [here, there].map { pair in
                let bench = try WorkerBench(pair.1, allowed: "10.0.0.1/32")
                bench.post([.install(pair.1)])
                return bench
            }
            branch.post([.addPeer(1, there.0.activity)])
            for (peer, pair) in [here, there].enumerated() {
                let id = PeerID(peer)
                branch.post([
                    .setDestination(
                        id, Destination(gateways[peer].endpoint, family: branch.sockets.family)),
                    .install(pair.0), .send(id, with: pair.0),
                ])
                gateways[peer].setPlace(branch.endpoint)
            }
            prefer([:])
        }

        func prefer(_ preferences: [PeerID: PeerPreference]) {
            var allowed = AllowedIPs()
            let prefix = IPPrefix("10.0.0.0/24").unsafelyUnwrapped
            allowed.share(prefix, 0)
            allowed.share(prefix, 1)
            branch.post([.route(RoutingTable(allowed, preferences: preferences))])
        }

        /// - Returns: The gateway that the packet arrives at.
        func gateway(of packet: [UInt8]) -> Int? {
            branch.offer(packet)
            var found: Int?
            _ = eventually {
                branch.step()
                for (index, gateway) in gateways.enumerated() {
                    gateway.step()
                    if gateway.delivered().contains(packet) { found = index }
                }
                return found != nil
            }
            return found
        }

        /// Sends flows until each gateway has had one: where a flow goes is chance.
        func reachBoth(_ datagram: (UInt16) -> [UInt8]) {
            var reached: Set<Int> = []
            for flow in 3_000..<3_100 as Range<UInt16> where reached.count < gateways.count {
                if let found = gateway(of: datagram(flow)) { reached.insert(found) }
            }
            #expect(reached.count == gateways.count)
        }
    }

    private enum Sessions {
        static func pair(_ peer: PeerID) -> (Session, Session) {
            let there = Secret32.random(), back = Secret32.random()
            let now = Clock.monotonicNanoseconds()
            let base = UInt32(peer) << 16
            return (
                Session(
                    localIndex: 0x1111_0000 + base, remoteIndex: 0x2222_0000 + base, peer: peer,
                    isInitiator: true, createdAt: now, activity: PeerActivity(), sendKey: there,
                    receiveKey: back),
                Session(
                    localIndex: 0x2222_0000 + base, remoteIndex: 0x1111_0000 + base, peer: 0,
                    isInitiator: false, createdAt: now, activity: PeerActivity(), sendKey: back,
                    receiveKey: there)
            )
        }
    }

    private func datagram(_ flow: UInt16, _ serial: Int = 0) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.sourcePort = flow
            $0.identification = UInt16(serial)
            $0.destination = [10, 0, 0, 77]
            $0.payload = PacketBuilder.pattern(100 + serial)
        }.bytes
    }

    private func answer(from source: [UInt8]) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.source = source
            $0.destination = [10, 0, 0, 1]
            $0.payload = PacketBuilder.pattern(64)
        }.bytes
    }

    @Test func flowsStayWhileTheirPeerIsWellAndMoveWhenItIsNot() throws {
        let bench = try Bench()
        bench.prefer([0: .init(priority: 1)])
        #expect(bench.gateway(of: datagram(1_000)) == 0)
        bench.prefer([1: .init(priority: 1)])
        #expect(bench.gateway(of: datagram(1_000, 1)) == 0, "pinned")
        #expect(bench.gateway(of: datagram(1_001)) == 1, "new")
        bench.prefer([0: .init(level: 1), 1: .init(priority: 1)])
        #expect(bench.gateway(of: datagram(1_000, 2)) == 1)
        bench.prefer([0: .init(priority: 1), 1: .init(priority: 2)])
        #expect(bench.gateway(of: datagram(1_000, 3)) == 1, "it does not come back by itself")
        #expect(bench.gateway(of: datagram(1_002)) == 0)
    }

    @Test func manyFlowsAreShared() throws {
        let bench = try Bench()
        let gateways = (2_000..<2_040 as Range<UInt16>).map { bench.gateway(of: datagram($0)) }
        #expect(Set(gateways) == [0, 1])
        let again = (2_000..<2_040 as Range<UInt16>).map { bench.gateway(of: datagram($0, 1)) }
        #expect(gateways == again)
    }

    @Test func packetsFromTheSharedPrefixComeFromEitherPeer() throws {
        let bench = try Bench()
        // Each gateway's session is confirmed by what it receives first.
        bench.reachBoth { datagram($0) }
        for (index, gateway) in bench.gateways.enumerated() {
            let packet = answer(from: [10, 0, 0, 77 + UInt8(index)])
            gateway.offer(packet)
            var delivered: [[UInt8]] = []
            _ = eventually {
                gateway.step()
                bench.branch.step()
                delivered += bench.branch.delivered()
                return !delivered.isEmpty
            }
            #expect(delivered == [packet])
            gateway.offer(answer(from: [10, 0, 1, 77]))
            let isCounted = eventually {
                gateway.step()
                bench.branch.step()
                return bench.branch.counters.drops[.sourceNotAllowed] == UInt64(index + 1)
            }
            #expect(isCounted)
        }
    }

    @Test func injectedPacketsReachThePeerThatIsNamed() throws {
        let bench = try Bench()
        bench.prefer([0: .init(priority: 1)])
        let (source, target) = (IPAddress(ipv4: 0x0a00_0001), IPAddress(ipv4: 0x0a00_004d))
        for peer in [1, 0, 1] {
            let probe = ProbePacket.echoRequest(
                from: source, to: target, identifier: 5, sequence: 1, token: 9)
            bench.branch.post([.inject(PeerID(peer), probe)])
            var delivered: [[UInt8]] = []
            _ = eventually {
                bench.branch.step()
                bench.gateways[peer].step()
                delivered += bench.gateways[peer].delivered()
                return !delivered.isEmpty
            }
            #expect(delivered == [probe])
            bench.gateways[1 - peer].step()
            #expect(bench.gateways[1 - peer].delivered().isEmpty)
        }
    }

    @Test func answersAreHandedOnAndNotDelivered() throws {
        let bench = try Bench()
        bench.reachBoth { datagram($0) }
        _ = bench.branch.inbox.take()
        let local = IPAddress(ipv4: 0x0a00_0001)
        bench.branch.post([
            .watchAnswers(
                ProbeMarks(identifier: 5, localPorts: 61_000...61_063, localAddresses: [local]))
        ])
        func packet(_ port: UInt16, from source: [UInt8]) -> [UInt8] {
            PacketBuilder.tcp4.with {
                $0.source = source
                $0.destination = [10, 0, 0, 1]
                $0.destinationPort = port
                $0.flags = 0x12
            }.bytes
        }
        let marked = packet(61_001, from: [10, 0, 0, 77])
        let other = packet(60_000, from: [10, 0, 0, 77])
        bench.gateways[1].offer(packet(61_001, from: [10, 0, 1, 77]))
        bench.gateways[1].offer(marked)
        bench.gateways[1].offer(other)
        var delivered: [[UInt8]] = [], answers: [(PeerID, [UInt8])] = []
        _ = eventually {
            bench.gateways[1].step()
            bench.branch.step()
            delivered += bench.branch.delivered()
            for case .answer(_, let peer, let bytes, _) in bench.branch.inbox.take() {
                answers.append((peer, bytes))
            }
            return !delivered.isEmpty && !answers.isEmpty
        }
        #expect(delivered == [other])
        #expect(answers.map(\.0) == [1] && answers.map(\.1) == [marked])
    }
}
