import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct ChecksumTests {
    @Test func exampleOfRFC1071SumsToDDF2() {
        let sum = ByteArena.withCopy(of: [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]) {
            Checksum.fold(Checksum.sum($0))
        }
        #expect(sum == 0xddf2)
    }

    @Test func headerWithItsChecksumVerifies() {
        var header = bytes(hex: "45000073000040004011b861c0a80001c0a800c7")
        #expect(ByteArena.withCopy(of: header) { Checksum.verify($0) })
        header[10...11] = [0, 0]
        #expect(ByteArena.withCopy(of: header) { Checksum.finish(Checksum.sum($0)) } == 0xb861)
    }

    @Test(arguments: realPackets)
    func packetsMadeByTheKernelVerifyAndNoneWithAFlippedBitDoes(hex: String) {
        let packet = bytes(hex: hex)
        #expect(isValid(packet))
        // No checksum covers the first eight bytes of an IPv6 header.
        for bit in (packet[0] >> 4 == 6 ? 64 : 0)..<packet.count * 8 {
            var broken = packet
            broken[bit / 8] ^= 1 << (bit % 8)
            let view = ByteArena.withCopy(of: broken) { isWholeAndValid($0) }
            #expect(!view, "bit \(bit)")
        }
    }

    @Test func sumEqualsTheSlowOneForEveryLengthAndOffset() {
        var random = SeededGenerator(seed: 1)
        let data = random.bytes(400)
        ByteArena.withCopy(of: data) { region in
            for offset in 0..<9 {
                for count in 0...(400 - offset) {
                    let fast = Checksum.fold(
                        Checksum.sum(region.region(at: offset, count: count)))
                    let slow = PacketBuilder.slowSum(Array(data[offset..<offset + count]))
                    #expect(fast == slow || fast ^ slow == 0xffff && count == 0)
                }
            }
        }
    }

    @Test func sumOfOnesDoesNotLoseCarries() {
        for count in [1, 7, 8, 31, 63, 64, 65, 128, 1_420, 65_535] {
            let data = [UInt8](repeating: 0xff, count: count)
            let fast = ByteArena.withCopy(of: data) { Checksum.fold(Checksum.sum($0, .max)) }
            #expect(fast == (count % 2 == 0 ? 0xffff : 0xff00))
        }
    }

    @Test func partsAddUpToTheWhole() {
        var random = SeededGenerator(seed: 2)
        let data = random.bytes(1_421)
        ByteArena.withCopy(of: data) { region in
            let whole = Checksum.fold(Checksum.sum(region))
            for split in stride(from: 0, through: 1_420, by: 2) {
                let parts = Checksum.sum(
                    region.region(from: split), Checksum.sum(region.prefix(split)))
                #expect(Checksum.fold(parts) == whole)
            }
        }
    }

    @Test func incrementalUpdateEqualsRecomputation() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<2_000 {
            var data = random.bytes(20)
            data[10...11] = [0, 0]
            let old = ~PacketBuilder.slowSum(data)
            let before = UInt16(data[0]) << 8 | UInt16(data[1])
            let after = UInt16.random(in: 0...0xffff, using: &random)
            data[0...1] = PacketBuilder.big(after)[...]
            #expect(
                Checksum.updated(old, replacing: before, with: after)
                    == ~PacketBuilder.slowSum(data))
        }
    }

    @Test func udpWithoutChecksumIsNotValid() {
        var packet = PacketBuilder.udp4.with { $0.payload = [1, 2, 3] }.bytes
        packet[26...27] = [0, 0]
        #expect(!isValid(packet))
    }

    private func isValid(_ packet: [UInt8]) -> Bool {
        ByteArena.withCopy(of: packet) { region in
            IPPacket(region).map { Checksum.verifyTransport(of: $0) } ?? false
        }
    }

    private func isWholeAndValid(_ region: ByteRegion) -> Bool {
        guard let packet = IPPacket(region), packet.totalCount == region.count else { return false }
        if packet.version == 4, !Checksum.verify(region.prefix(packet.headerCount)) {
            return false
        }
        return Checksum.verifyTransport(of: packet)
    }
}
