import PacketFormats
import TestSupport
import Testing

/// TCP frames cut smaller than the kernel asked for.
@Suite struct SegmentShorteningTests {
    private static let headers = 32

    private func builder(_ base: PacketBuilder, _ payloadCount: Int) -> PacketBuilder {
        base.with {
            $0.payload = PacketBuilder.pattern(payloadCount)
            $0.flags = 0x99  // CWR, ACK, PSH, FIN
            $0.sequence = .max - 20
            $0.identification = .max
            $0.tcpOptions = [1, 1, 8, 10] + PacketBuilder.pattern(8)
            $0.trafficClass = 0xb9
        }
    }

    private func headerCount(_ base: PacketBuilder) -> Int {
        (base.isIPv4 ? 20 : 40) + Self.headers
    }

    @Test(arguments: [PacketBuilder.tcp4, .tcp6], [1_368, 1_367, 1_200, 100, 17, 16, 1])
    func smallerPacketsAreTheSameStream(base: PacketBuilder, size: Int) {
        for count in [1_369, 2 * 1_368, 2 * 1_368 + 1, 10 * 1_368 + 3] where count / size < 1_024 {
            let builder = builder(base, count)
            let header = SegmenterTests.header(for: builder, size: 1_368)
            let result = cut(
                header, builder.bytes, limit: headerCount(base) + size,
                isShortened: (count + size - 1) / size <= 1_024)
            #expect(result == .packets(SegmenterTests.expected(builder, size: size)))
        }
    }

    /// The kernel's segments are whole multiples of nothing: the last one ends where it ended.
    @Test func wholeFrameOfTheKernelIsCut() {
        let builder = builder(.tcp4, 65_535 - headerCount(.tcp4))
        let header = SegmenterTests.header(for: builder, size: 1_368)
        let result = cut(header, builder.bytes, paddingLimit: 1_220, limit: 1_220)
        #expect(
            result
                == .packets(
                    SegmenterTests.expected(builder, size: 1_220 - headerCount(.tcp4))))
    }

    @Test func framesThatCannotBeCutStayAsTheyAre() {
        let tcp = builder(.tcp4, 3_000)
        let header = SegmenterTests.header(for: tcp, size: 1_368)
        let whole = Cut.packets(SegmenterTests.expected(tcp, size: 1_368))
        // No room behind the headers, and no smaller than before.
        for limit in [Int.min, -1, 0, headerCount(.tcp4), headerCount(.tcp4) + 1_369, .max] {
            #expect(cut(header, tcp.bytes, limit: limit, isShortened: false) == whole, "\(limit)")
        }
        // More packets than a frame may have.
        let most = 1_024 * 4
        for (count, isShortened) in [(most, true), (most + 1, false)] {
            let tcp = builder(.tcp6, count)
            let result = cut(
                SegmenterTests.header(for: tcp, size: 1_368), tcp.bytes,
                limit: headerCount(.tcp6) + 4, isShortened: isShortened)
            let size = isShortened ? 4 : 1_368
            #expect(result == .packets(SegmenterTests.expected(tcp, size: size)))
        }
    }

    @Test func whatIsNoTCPIsNotCut() {
        for base in [PacketBuilder.udp4, .udp6] {
            let udp = base.with { $0.payload = PacketBuilder.pattern(3_000) }
            let result = cut(
                SegmenterTests.header(for: udp, size: 1_200), udp.bytes, limit: 1_000,
                isShortened: false)
            #expect(result == .packets(SegmenterTests.expected(udp, size: 1_200)))
        }
        for base in [PacketBuilder.udp4, .tcp4, .tcp6] {
            let packet = base.with { $0.payload = PacketBuilder.pattern(1_300) }
            var header = VirtioNetHeader()
            #expect(
                cut(header, packet.bytes, limit: 1_000, isShortened: false)
                    == .packets([packet.bytes]))
            header = SegmenterTests.header(for: packet, size: 0)
            header.gsoType = VirtioNetHeader.gsoNone
            guard case .packets(let packets) = cut(
                header, packet.bytes, limit: 1_000, isShortened: false)
            else {
                Issue.record("refused")
                continue
            }
            #expect(packets.map(\.count) == [packet.bytes.count])
        }
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func anyLimitKeepsPacketsWithinIt(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let base = Bool.random(using: &random) ? PacketBuilder.tcp4 : .tcp6
            let size = Int.random(in: 1...1_400, using: &random)
            let count = Int.random(in: 1...min(60_000, size * 1_024), using: &random)
            let limit = Int.random(in: 0...1_500, using: &random)
            let tcp = builder(base, count)
            let smaller = limit - headerCount(base)
            let isShortened =
                smaller > 0 && smaller <= size && (count + smaller - 1) / smaller <= 1_024
            let result = cut(
                SegmenterTests.header(for: tcp, size: size), tcp.bytes, limit: limit,
                isShortened: isShortened)
            #expect(
                result
                    == .packets(
                        SegmenterTests.expected(tcp, size: isShortened ? smaller : size)))
        }
    }
}
