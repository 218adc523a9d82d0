import Cryptography
import LinuxNetworking
import PacketFormats
import PacketMemory
import TestSupport
import Testing
import WireGuardProtocol

@testable import TunnelEngine

/// In which order a worker delivers what waits in its socket.
@Suite struct ReceiveOrderTests {
    /// A packet of the flow with this source port; its payload begins with `serial`.
    private func packet(_ port: UInt16, _ serial: Int, payloadCount: Int) -> [UInt8] {
        PacketBuilder.udp4.with {
            $0.source = [10, 0, 0, 2]
            $0.destination = [10, 0, 0, 1]
            $0.sourcePort = port
            $0.identification = UInt16(serial)
            $0.payload =
                [UInt8(serial >> 8), UInt8(serial & 0xFF)]
                + PacketBuilder.pattern(payloadCount - 2)
        }.bytes
    }

    /// Sends packets as one message: a train, if there are several. A busy kernel delivers later
    /// than it takes: the message is awaited in the left's socket, so that the left meets all of
    /// what a test sends in one pass.
    private func send(_ packets: [[UInt8]], _ counter: inout UInt64, in pair: WorkerBenchPair) throws {
        let datagrams = packets.map { packet in
            defer { counter += 1 }
            let padded = packet + [UInt8](repeating: 0, count: -packet.count & 15)
            let datagram = ByteArena(count: padded.count + 32)
            return ByteArena.withCopy(of: padded) {
                let count = pair.rightSession.seal(
                    counter: counter, packet: $0, into: datagram.whole, with: PacketCipher())
                return datagram.whole.prefix(count).bytes
            }
        }
        let group = pair.right.sockets
        let destination = try #require(
            Destination(pair.left.endpoint, family: group.family))
        let bytes = datagrams.flatMap { $0 }
        let socket = pair.left.sockets.dataSockets[0]
        let waiting = try #require(socket.waitingByteCount)
        let sent = ByteArena.withCopy(of: bytes) {
            group.dataSockets[0].send(
                $0, segmentByteCount: datagrams[0].count, to: destination)
        }
        #expect(sent == bytes.count)
        #expect(eventually { (socket.waitingByteCount ?? 0) > waiting })
    }

    private func train(_ port: UInt16, from serial: Int) -> [[UInt8]] {
        (serial..<serial + 10).map { packet(port, $0, payloadCount: 1_000) }
    }

    /// Source ports and serials of all packets that the left delivers, in order.
    private func delivered(_ bench: WorkerBench) -> [(port: Int, serial: Int)] {
        var packets: [(Int, Int)] = []
        while let (header, frame) = bench.nextDelivered() {
            let payload = Array(frame[28...])
            let size = header.gsoSize > 0 ? Int(header.gsoSize) : payload.count
            for start in stride(from: 0, to: payload.count, by: size) {
                packets.append(
                    (
                        Int(frame[20]) << 8 | Int(frame[21]),
                        Int(payload[start]) << 8 | Int(payload[start + 1])
                    ))
            }
        }
        return packets
    }

    /// Everything that was sent, once the left has delivered `count` packets.
    private func deliver(_ count: Int, in pair: WorkerBenchPair) -> [(port: Int, serial: Int)] {
        var packets: [(port: Int, serial: Int)] = []
        let isComplete = eventually {
            pair.left.step()
            packets += delivered(pair.left)
            return packets.count >= count
        }
        #expect(isComplete)
        return packets
    }

    private func makePair() throws -> WorkerBenchPair {
        let pair = try WorkerBenchPair()
        pair.establish()
        pair.left.step()
        return pair
    }

    @Test func smallPacketPassesTheBulkOfOtherFlows() throws {
        let pair = try makePair()
        var counter: UInt64 = 0
        for serial in [0, 10, 20] { try send(train(7_000, from: serial), &counter, in: pair) }
        try send([packet(8_000, 500, payloadCount: 60)], &counter, in: pair)
        let packets = deliver(31, in: pair)
        #expect(packets.first?.port == 8_000)
        #expect(packets.dropFirst().map(\.serial) == Array(0..<30))
    }

    @Test func smallPacketOfABulkFlowKeepsItsPlace() throws {
        let pair = try makePair()
        var counter: UInt64 = 0
        for serial in [10, 20, 30] {
            try send(train(7_000, from: serial), &counter, in: pair)
            try send([packet(7_000, serial + 100, payloadCount: 60)], &counter, in: pair)
        }
        try send([packet(8_000, 500, payloadCount: 60)], &counter, in: pair)
        let packets = deliver(34, in: pair)
        #expect(packets.first?.port == 8_000)
        let own = packets.filter { $0.port == 7_000 }.map(\.serial)
        #expect(own == [10..<20, 110..<111, 20..<30, 120..<121, 30..<40, 130..<131].flatMap { $0 })
    }

    /// A full TSO frame has more segments than one send carries: it is one frame again, whether its
    /// rest is small enough to be opened first or not.
    @Test(arguments: [2, 6])
    func restOfAFrameIsWrittenWithIt(_ restCount: Int) throws {
        let pair = try makePair()
        var counter: UInt64 = 0
        let packets = (0..<36 + restCount).map { packet(7_000, $0, payloadCount: 1_000) }
        try send(Array(packets[..<36]), &counter, in: pair)
        try send(Array(packets[36...]), &counter, in: pair)
        pair.left.step()
        let (header, frame) = try #require(pair.left.nextDelivered())
        #expect(header.gsoSize == 1_000)
        #expect(frame.count == 28 + packets.count * 1_000)
        #expect(pair.left.nextDelivered() == nil)
    }

    @Test func flowThatNoLongerWaitsIsFreeAgain() throws {
        let pair = try makePair()
        var counter: UInt64 = 0
        try send(train(7_000, from: 0), &counter, in: pair)
        #expect(deliver(10, in: pair).count == 10)
        for serial in [10, 20] { try send(train(8_000, from: serial), &counter, in: pair) }
        try send([packet(7_000, 500, payloadCount: 60)], &counter, in: pair)
        #expect(deliver(21, in: pair).first?.serial == 500)
    }

    @Test func fullBacklogDeliversItsOldestInOrder() throws {
        let pair = try makePair()
        pair.left.worker.received = ReceiveQueue(packetCapacity: 16)
        var counter: UInt64 = 0
        for serial in [0, 10, 20, 30] { try send(train(7_000, from: serial), &counter, in: pair) }
        try send([packet(7_000, 40, payloadCount: 60)], &counter, in: pair)
        try send([packet(8_000, 500, payloadCount: 60)], &counter, in: pair)
        let packets = deliver(42, in: pair)
        #expect(packets.filter { $0.port == 7_000 }.map(\.serial) == Array(0...40))
        #expect(packets.contains { $0.serial == 500 })
    }

    @Test func ringGoesAroundManyTimesWithoutLoss() throws {
        let pair = try makePair()
        var counter: UInt64 = 0
        for round in 0..<8 {
            let count = EngineLimits.messagesHeld - 3
            for index in 0..<count {
                try send(
                    [packet(9_000, round * count + index, payloadCount: 100 + index)], &counter,
                    in: pair)
            }
            let packets = deliver(count, in: pair)
            #expect(packets.map(\.serial) == Array(round * count..<(round + 1) * count))
        }
    }
}
