import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// What is cut, merged and cut again is what it was, whatever the sizes and the mix of flows.
@Suite struct RoundTripTests {
    private struct Flow {
        var builder: PacketBuilder
        var segmentSize: Int
    }

    private func flow(_ port: UInt16, _ random: inout SeededGenerator) -> Flow {
        let bases: [PacketBuilder] = [.tcp4, .tcp6, .udp4, .udp6]
        var builder = bases[Int.random(in: 0..<4, using: &random)]
        builder.sourcePort = port
        builder.sequence = UInt32.random(in: 0 ... .max, using: &random)
        builder.identification = UInt16.random(in: 0 ... .max, using: &random)
        builder.fragment = Bool.random(using: &random) ? 0x4000 : 0
        builder.trafficClass = UInt8.random(in: 0 ... .max, using: &random)
        builder.tcpOptions = random.bytes(4 * Int.random(in: 0...10, using: &random))
        return Flow(builder: builder, segmentSize: Int.random(in: 1...1_400, using: &random))
    }

    /// Cuts one random frame of a flow and advances the flow.
    private func frame(_ flow: inout Flow, _ random: inout SeededGenerator) -> [[UInt8]] {
        let most = min(flow.segmentSize * 40, 20_000)
        var builder = flow.builder
        builder.payload = random.bytes(Int.random(in: 1...most, using: &random))
        if builder.isTCP {
            builder.flags = [0x10, 0x18, 0x90, 0x11][Int.random(in: 0..<4, using: &random)]
        }
        let header = SegmenterTests.header(for: builder, size: flow.segmentSize)
        guard case .packets(let packets) = cut(header, builder.bytes) else {
            Issue.record("a good frame was refused")
            return []
        }
        #expect(packets == SegmenterTests.expected(builder, size: flow.segmentSize))
        flow.builder.sequence &+= UInt32(builder.payload.count)
        flow.builder.identification &+= UInt16(packets.count)
        return packets
    }

    @Test(arguments: 0..<20)
    func mergedPacketsComeApartAsTheyWere(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        print("round trip seed \(seed)")
        var flows = (0..<Int.random(in: 1...6, using: &random)).map {
            flow(UInt16($0), &random)
        }
        var queues = flows.indices.map { index in
            (0..<2).flatMap { _ in frame(&flows[index], &random) }
        }
        let original = queues
        var packets: [[UInt8]] = []
        while true {
            let waiting = queues.indices.filter { !queues[$0].isEmpty }
            guard let index = waiting.randomElement(using: &random) else { break }
            let burst = Int.random(in: 1...8, using: &random)
            packets += queues[index].prefix(burst)
            queues[index].removeFirst(min(burst, queues[index].count))
        }
        let frames = coalesce(packets, capacity: Int.random(in: 1...200, using: &random))
        var cutAgain: [[UInt8]] = []
        for frame in frames {
            guard case .packets(let packets) = cut(frame.header, frame.frame) else {
                Issue.record("seed \(seed): the merged frame was refused")
                continue
            }
            #expect(packets.count == frame.segmentCount)
            cutAgain += packets
        }
        for (index, expected) in original.enumerated() {
            let builder = flows[index].builder
            let offset = builder.isIPv4 ? 20 : 40
            let mine = cutAgain.filter {
                $0[0] >> 4 == (builder.isIPv4 ? 4 : 6)
                    && $0[builder.isIPv4 ? 9 : 6] == builder.number
                    && Array($0[offset...offset + 1]) == PacketBuilder.big(builder.sourcePort)
            }
            #expect(mine == expected, "seed \(seed), flow \(index)")
        }
        #expect(cutAgain.count == packets.count)
    }

    @Test func aWholeTCPFrameMergesBackIntoOneWrite() {
        let builder = PacketBuilder.tcp4.with {
            $0.payload = PacketBuilder.pattern(64_000)
            $0.flags = 0x18
        }
        guard case .packets(let packets) = cut(
            SegmenterTests.header(for: builder, size: 1_380), builder.bytes)
        else {
            Issue.record("refused")
            return
        }
        let frames = coalesce(packets)
        #expect(frames.count == 1)
        // Apart from the checksum field, it is the frame that was cut.
        var merged = frames[0].frame
        merged[36...37] = builder.bytes[36...37]
        #expect(merged == builder.bytes)
    }
}
