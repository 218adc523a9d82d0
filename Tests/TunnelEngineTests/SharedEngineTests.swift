import Cryptography
import EgressScheduling
import Glibc
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import LinuxNetworking
@testable import TunnelEngine
@testable import WireGuardProtocol

@Suite struct EventSourceTests {
    @Test func tokensTellWhomAnEventConcerns() {
        var sources: [EventSource] = [
            .signals, .inbox, .handshakes, .control, .handover, .handoverDialogue,
        ]
        for tunnel: TunnelID in [0, 1, 4_095] {
            for part: EventSource.Part in [
                .link, .listener, .control, .connection(0), .connection(1),
                .connection(EngineLimits.connectionNumbers - 1),
            ] {
                sources.append(.ofTunnel(tunnel, part))
            }
        }
        #expect(Set(sources.map(\.token)).count == sources.count)
        for source in sources { #expect(EventSource(token: source.token) == source) }
        #expect(EventSource(token: 6) == nil)
    }
}

@Suite struct TunnelTableTests {
    private func tunnel(_ number: TunnelID) -> WorkerTunnel {
        WorkerTunnel(
            TunnelPort(
                number: number, tun: TunQueue(fileDescriptor: -1), offloads: [],
                hasVirtioHeader: false, mtu: 1_420, isUp: true, lane: 0,
                limits: TunnelLimits(TenantLimits()), counters: WorkerCounters()))
    }

    @Test func numbersAreUsedAgainAndKeepNothing() {
        var table = TunnelTable()
        #expect(!table.contains(0))
        table.insert(tunnel(3))
        #expect(table.single == 3)
        table.insert(tunnel(0))
        #expect(table.single == nil)
        #expect(table.numbers == [0, 3])
        table[3].mtu = 1_280
        table.remove(3)
        table.remove(3)
        #expect(table.count == 1)
        #expect(table.single == 0)
        #expect(!table.contains(3))
        #expect(!table.contains(-1))
        #expect(!table.contains(9))
        table.insert(tunnel(3))
        #expect(table[3].mtu == 1_420)
    }
}

/// A worker that two tunnels share, each with a peer of the same number and the same addresses.
final class SharedWorkerBench {
    struct End {
        let number: TunnelID
        let kernelQueue: TunQueue
        let counters = WorkerCounters()
        let here: Session
        let there: Session
    }

    var worker: Worker
    let link: WorkerLink
    let group: UDPSocketGroup
    let remote: UDPSocketGroup
    private(set) var ends: [End] = []
    private var queues: [TunQueue] = []
    private let readBuffer = ByteArena(count: 66_000)

    static let allowed = "10.0.0.2/32"
    static let laneCount = 4

    init(tunnelCount: Int = 2) throws {
        link = WorkerLink(bell: try EventDescriptor())
        group = try UDPSocketGroup.bind(port: 0, workerCount: 1, laneCount: Self.laneCount)
        remote = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        let (loop, sources) = try Worker.makeLoop(link, isShared: true)
        worker = Worker(
            index: 0, link: link, inbox: ControlInbox(bell: try EventDescriptor()),
            cipher: PacketCipher(),
            receiveQueue: SojournController(targetNanoseconds: .max, intervalNanoseconds: .max),
            loop: loop, sources: sources)
        link.post([.useSockets(group.lanes(ofWorker: 0))])
        for number in 0..<tunnelCount { try addTunnel(TunnelID(number)) }
        worker.applyCommands()
    }

    deinit {
        for queue in queues { close(queue.fileDescriptor) }
        group.close()
        remote.close()
    }

    private func addTunnel(_ number: TunnelID) throws {
        let (queueEnd, kernelEnd) = try socketPair(SOCK_SEQPACKET)
        let queue = TunQueue(fileDescriptor: queueEnd)
        let kernelQueue = TunQueue(fileDescriptor: kernelEnd)
        queues += [queue, kernelQueue]
        let (here, there) = makeSessionPair(tunnel: number)
        let end = End(number: number, kernelQueue: kernelQueue, here: here, there: there)
        ends.append(end)
        var allowedIPs = AllowedIPs()
        allowedIPs.insert(try #require(IPPrefix(Self.allowed)), 0)
        let place = Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: remote.port)
        let commands: [TunnelCommand] = [
            .route(RoutingTable(allowedIPs)), .addPeer(0, here.activity),
            .setDestination(0, Destination(place, family: group.family)), .install(here),
            .send(0, with: here),
        ]
        let port = TunnelPort(
            number: number, tun: queue, offloads: .all, hasVirtioHeader: true, mtu: 1_420,
            isUp: true, lane: Int(number) % Self.laneCount,
            limits: TunnelLimits(TenantLimits()), counters: end.counters)
        link.post([.addTunnel(port)] + commands.map { .tunnel(number, $0) })
    }

    func step() {
        worker.applyCommands()
        _ = worker.receive()
        _ = worker.admitFrames()
        _ = worker.transmit()
    }

    /// Sends a packet as the peer of one tunnel.
    func send(_ packet: [UInt8], in end: End) throws {
        let counter = try #require(end.there.reserveCounters(1))
        let datagram = ByteArena(count: packet.count + WireGuardMessage.TransportData.overhead)
        ByteArena.withCopy(of: packet) {
            _ = end.there.seal(
                counter: counter, packet: $0, into: datagram.whole, with: worker.cipher)
        }
        let place = Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: group.port)
        let destination = try #require(Destination(place, family: remote.family))
        #expect(remote.dataSockets[0].send(datagram.whole, to: destination) > 0)
    }

    /// Puts a frame into a tunnel's queue, as the kernel does.
    func offer(_ packet: [UInt8], to end: End) {
        let frame = [UInt8](repeating: 0, count: VirtioNetHeader.count) + packet
        ByteArena.withCopy(of: frame) { #expect(end.kernelQueue.write($0) == frame.count) }
    }

    /// What the worker wrote to a tunnel's queue.
    func delivered(to end: End) -> [UInt8]? {
        let count = end.kernelQueue.read(readBuffer.whole)
        guard count > VirtioNetHeader.count else { return nil }
        return readBuffer.whole.prefix(count).region(from: VirtioNetHeader.count).bytes
    }
}

@Suite struct SharedWorkerTests {
    /// From host 10.0.0.`source` to 10.0.0.`destination`.
    private func packet(from source: UInt8, to destination: UInt8, mark: UInt8) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.source = [10, 0, 0, source]
            $0.destination = [10, 0, 0, destination]
            $0.payload = [UInt8](repeating: mark, count: 36)
        }.bytes
    }

    @Test func packetsOfTheSameAddressesStayWithTheirTunnel() throws {
        let bench = try SharedWorkerBench(tunnelCount: 3)
        for (mark, end) in bench.ends.enumerated() {
            try bench.send(
                packet(from: 2, to: 1, mark: UInt8(mark + 1)), in: end)
        }
        let areWritten = eventually {
            bench.step()
            return bench.ends.allSatisfy { $0.counters.events[.packetsWritten] > 0 }
        }
        #expect(areWritten)
        for _ in 0..<50 { bench.step() }
        for (mark, end) in bench.ends.enumerated() {
            #expect(bench.delivered(to: end)?.last == UInt8(mark + 1))
            #expect(bench.delivered(to: end) == nil)
            #expect(end.counters.events[.packetsWritten] == 1)
        }
    }

    @Test func framesLeaveUnderTheKeysOfTheirTunnel() throws {
        let bench = try SharedWorkerBench()
        for (mark, end) in bench.ends.enumerated() {
            bench.offer(packet(from: 1, to: 2, mark: UInt8(mark + 1)), to: end)
        }
        let batch = ReceiveBatch(messageCapacity: 8)
        var seen: [UInt32: UInt8] = [:]
        var strangers = 0
        let areSeen = eventually {
            bench.step()
            for socket in bench.remote.dataSockets + [bench.remote.controlSocket] {
                let count = socket.receive(batch, limit: 8)
                for index in 0..<max(count, 0) {
                    let datagram = batch.region(index)
                    let receiver = datagram.littleEndian32(
                        at: WireGuardMessage.TransportData.receiverIndexOffset)
                    guard
                        let end = bench.ends.first(where: { $0.there.localIndex == receiver })
                    else {
                        strangers += 1
                        continue
                    }
                    let plain = end.there.open(datagram: datagram, with: bench.worker.cipher)
                    seen[receiver] = plain?.bytes.last { $0 != 0 } ?? 0
                }
            }
            return seen.count == 2
        }
        #expect(areSeen && strangers == 0)
        for (mark, end) in bench.ends.enumerated() {
            #expect(seen[end.there.localIndex] == UInt8(mark + 1))
        }
    }

    @Test func aTunnelThatIsRemovedLeavesNothingBehind() throws {
        let bench = try SharedWorkerBench()
        let (gone, stays) = (bench.ends[0], bench.ends[1])
        bench.offer(packet(from: 1, to: 9, mark: 1), to: gone)
        _ = bench.worker.admitFrames()
        let free = bench.worker.frames.freeSmallCount
        bench.link.post([.removeTunnel(gone.number)])
        bench.step()
        #expect(bench.worker.frames.freeSmallCount == free + 1)
        #expect(bench.worker.sessions[gone.here.localIndex] == nil)
        let events = bench.worker.inbox.take()
        let hasForgotten = events.contains {
            if case .tunnelForgotten(gone.number) = $0 { true } else { false }
        }
        #expect(hasForgotten)
        // Late commands and datagrams of it go nowhere.
        bench.link.post([.tunnel(gone.number, .setMTU(1_300))])
        try bench.send(packet(from: 2, to: 1, mark: 7), in: gone)
        try bench.send(packet(from: 2, to: 1, mark: 8), in: stays)
        let areBothHere = eventually {
            bench.step()
            return stays.counters.events[.packetsWritten] == 1
                && bench.link.counters.drops[.unknownReceiverIndex] == 1
        }
        #expect(areBothHere)
        for _ in 0..<50 { bench.step() }
        #expect(bench.delivered(to: gone) == nil)
        #expect(bench.delivered(to: stays)?.last == 8)
        #expect(bench.link.counters.drops[.unknownReceiverIndex] == 1)
    }

    @Test func whatArrivesBeyondTheLimitIsDropped() throws {
        let bench = try SharedWorkerBench()
        let (capped, free) = (bench.ends[0], bench.ends[1])
        let limits = TunnelLimits(TenantLimits(maximumPacketsPerSecond: 1))
        bench.link.post([.tunnel(capped.number, .setLimits(limits))])
        for _ in 0..<500 {
            try bench.send(packet(from: 2, to: 1, mark: 1), in: capped)
            try bench.send(packet(from: 2, to: 1, mark: 1), in: free)
            bench.step()
            for end in bench.ends { while bench.delivered(to: end) != nil {} }
        }
        let isAllHere = eventually {
            bench.step()
            for end in bench.ends { while bench.delivered(to: end) != nil {} }
            let counts = bench.ends.map {
                $0.counters.events[.packetsWritten] + $0.counters.events[.rateLimited]
            }
            return counts.allSatisfy { $0 == 500 }
        }
        #expect(isAllHere)
        #expect(capped.counters.events[.rateLimited] > 0)
        #expect(free.counters.events[.rateLimited] == 0)
        #expect(free.counters.events[.packetsWritten] == 500)
        #expect(
            capped.counters.events[.packetsWritten] + capped.counters.events[.rateLimited] == 500)
    }
}
