import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// Nothing that a peer or a local program sends makes a parser trap.
@Suite struct HostileBytesTests {
    /// Reads, hashes, merges, cuts and answers; the outcome does not matter.
    private func touch(_ packet: [UInt8], _ random: inout SeededGenerator) {
        let room = 64
        let arena = ByteArena(count: packet.count + 2 * room)
        let region = arena.whole.region(at: room, count: packet.count)
        for (index, byte) in packet.enumerated() { region[index] = byte }
        _ = WireGuardMessage.type(of: region)
        _ = flowHash(of: region)
        if let view = IPPacket(region) {
            _ = (view.source, view.destination, view.ecn, view.transport.count)
            _ = Checksum.verifyTransport(of: view)
            _ = view.markCE()
        }
        let answer = ByteArena(count: 1_280)
        let written = ICMPUnreachable.build(for: region, from: nil, into: answer.whole)
        #expect(written <= 1_280)
        var coalescer = Coalescer(packetCapacity: 4)
        for _ in 0..<3 {
            let isAdded = coalescer.add(region)
            #expect(isAdded)
        }
        for run in 0..<coalescer.runCount { _ = coalescer.prepare(run: run).count }
        coalescer.reset()

        var header = VirtioNetHeader()
        header.flags = UInt8.random(in: 0...1, using: &random)
        let types: [UInt8] = [0, 1, 4, 5, 0x81, 3, 0xff]
        header.gsoType = types[Int.random(in: 0..<types.count, using: &random)]
        header.gsoSize = UInt16.random(in: 0...64, using: &random)
        let starts: [UInt16] = [20, 40, UInt16.random(in: 0...80, using: &random)]
        header.checksumStart = starts[Int.random(in: 0..<3, using: &random)]
        let offsets: [UInt16] = [16, 6, UInt16.random(in: 0 ... .max, using: &random)]
        header.checksumOffset = offsets[Int.random(in: 0..<3, using: &random)]
        let outcome = Segmenter.make(
            header: header, frame: region, capacityAfter: room, paddingLimit: 1_420)
        if case .segmenter(var segmenter) = outcome {
            while let next = segmenter.next() {
                let count = next.count
                #expect(count > 0)
            }
        }
        withExtendedLifetime((arena, answer)) {}
    }

    private var valid: [[UInt8]] {
        let extensions: [(number: UInt8, rest: [UInt8])] = [
            (0, [UInt8](repeating: 0, count: 7)), (44, [0, 0, 1, 1, 2, 3, 4]),
        ]
        let options: [UInt8] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
        return realPackets.map { bytes(hex: $0) }
            + [PacketBuilder.tcp4, .tcp6, .udp4, .udp6].flatMap { base in
                [
                    base.with { $0.payload = PacketBuilder.pattern(90) }.bytes,
                    base.with { $0.tcpOptions = options; $0.payload = [1] }.bytes,
                    base.with { $0.ipOptions = [1, 1, 1, 1] }.bytes,
                    base.with { $0.extensionHeaders = extensions }.bytes,
                ]
            }
    }

    @Test func noTruncationTraps() {
        var random = SeededGenerator(seed: 11)
        for packet in valid {
            for count in 0...packet.count {
                touch(Array(packet[..<count]), &random)
                // The same with a stated length that fits what is left.
                var fitted = Array(packet[..<count])
                if count >= 20, fitted[0] >> 4 == 4 {
                    fitted[2...3] = PacketBuilder.big(UInt16(count))[...]
                } else if count >= 40 {
                    fitted[4...5] = PacketBuilder.big(UInt16(count - 40))[...]
                }
                touch(fitted, &random)
            }
        }
    }

    @Test(arguments: [UInt64(21), 22, 23, 24])
    func noRandomBytesTrap(seed: UInt64) {
        print("hostile bytes seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let valid = valid
        for _ in 0..<3_000 {
            var packet: [UInt8]
            if Bool.random(using: &random) {
                packet = random.bytes(Int.random(in: 0...200, using: &random))
                if !packet.isEmpty { packet[0] = Bool.random(using: &random) ? 0x45 : 0x60 }
            } else {
                packet = valid[Int.random(in: 0..<valid.count, using: &random)]
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let index = Int.random(in: 0..<packet.count, using: &random)
                    packet[index] = UInt8.random(in: 0 ... .max, using: &random)
                }
            }
            touch(packet, &random)
        }
    }
}
