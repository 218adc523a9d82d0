import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct CoalescerOrderTests {
    private func packet(flow: UInt16, _ index: Int) -> PacketBuilder {
        PacketBuilder.tcp4.with {
            $0.sourcePort = flow
            $0.payload = PacketBuilder.pattern(50, index)
            $0.sequence = UInt32(index * 50)
            $0.identification = UInt16(index)
        }
    }

    @Test func interleavedFlowsMergeEachForItself() {
        let packets = (0..<40).map { packet(flow: UInt16(1 + $0 % 8), $0 / 8).bytes }
        let frames = coalesce(packets)
        #expect(frames.map(\.segmentCount) == [Int](repeating: 5, count: 8))
        // Runs come in the order of their first packets.
        #expect(frames.map { $0.frame[21] } == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func aPacketThatCannotMergeIsNotOvertaken() {
        let base = (0..<4).map { packet(flow: 9, $0) }
        let between: [(String, PacketBuilder)] = [
            ("bare acknowledgment", base[2].with { $0.payload = [] }),
            ("FIN", base[2].with { $0.flags = 0x11 }),
            ("fragment", base[2].with { $0.fragment = 0x2000 }),
            ("later fragment", base[2].with { $0.fragment = 0x0009; $0.sourcePort = 77 }),
            ("options", base[2].with { $0.ipOptions = [1, 1, 1, 1] }),
            ("mark", base[2].with { $0.trafficClass = 3 }),
        ]
        for (name, other) in between {
            let packets = [base[0].bytes, base[1].bytes, other.bytes, base[2].bytes, base[3].bytes]
            #expect(coalesce(packets).map(\.segmentCount) == [2, 1, 2], "\(name)")
        }
    }

    @Test func packetsOfOtherFlowsDoNotEndARun() {
        let base = (0..<3).map { packet(flow: 9, $0) }
        var ping = PacketBuilder.udp4.bytes
        ping[9] = 1
        let other = base[0].with { $0.destination = [9, 9, 9, 9]; $0.fragment = 0x2000 }.bytes
        let packets = [base[0].bytes, ping, base[1].bytes, other, base[2].bytes]
        #expect(coalesce(packets).map(\.segmentCount) == [3, 1, 1])
    }

    @Test func whatIsNotAWholePacketPassesAlone() {
        let junk: [[UInt8]] = [
            [], [0x45], [UInt8](repeating: 0x45, count: 20), [UInt8](repeating: 0x60, count: 40),
            [UInt8](repeating: 0, count: 100), PacketBuilder.tcp4.bytes + [0],
            Array(PacketBuilder.tcp4.bytes.dropLast()), PacketBuilder.udp6.bytes + [1, 2],
        ]
        let whole = packet(flow: 1, 0).bytes
        let packets = junk.flatMap { [whole, $0] }
        #expect(coalesce(packets).map(\.frame) == packets)
    }

    @Test func moreFlowsThanPlacesStillArriveInOrder() {
        let flowCount = 300
        let packets = (0..<flowCount * 3).map {
            packet(flow: UInt16($0 % flowCount), $0 / flowCount).bytes
        }
        let frames = coalesce(packets, capacity: packets.count)
        let cutAgain = frames.flatMap { frame -> [[UInt8]] in
            guard case .packets(let packets) = cut(frame.header, frame.frame) else { return [] }
            return packets
        }
        let port = { (packet: [UInt8]) in Array(packet[20...21]) }
        #expect(
            Dictionary(grouping: cutAgain, by: port) == Dictionary(grouping: packets, by: port))
    }
}
