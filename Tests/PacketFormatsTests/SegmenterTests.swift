import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct SegmenterTests {
    static func header(for builder: PacketBuilder, size: Int) -> VirtioNetHeader {
        var header = VirtioNetHeader()
        let start = builder.bytes.count - builder.transport.count
        header.flags = VirtioNetHeader.needsChecksumFlag
        header.gsoType =
            !builder.isTCP ? VirtioNetHeader.gsoUDPL4
            : builder.isIPv4 ? VirtioNetHeader.gsoTCPv4 : VirtioNetHeader.gsoTCPv6
        header.gsoSize = UInt16(size)
        header.checksumStart = UInt16(start)
        header.checksumOffset = builder.isTCP ? 16 : 6
        // The kernel's hint is often the first packet's length.
        header.headerLength = UInt16(start + 20 + size)
        return header
    }

    /// What the cut packets must be, built one by one.
    static func expected(_ builder: PacketBuilder, size: Int) -> [[UInt8]] {
        let count = max(1, (builder.payload.count + size - 1) / size)
        return (0..<count).map { index in
            builder.with {
                $0.payload = Array(builder.payload.dropFirst(index * size).prefix(size))
                $0.sequence = builder.sequence &+ UInt32(index * size)
                $0.identification = builder.identification &+ UInt16(index)
                if index > 0 { $0.flags &= ~0x80 }
                if index + 1 < count { $0.flags &= ~0x09 }
            }.bytes
        }
    }

    @Test(arguments: [PacketBuilder.tcp4, .tcp6, .udp4, .udp6], [1_368, 1_000, 100, 16, 15, 1])
    func packetsAreThoseThatTheHeadersStandFor(base: PacketBuilder, size: Int) {
        for count in [1, size - 1, size, size + 1, 2 * size, 5 * size + 3] where count > 0 {
            let builder = base.with {
                $0.payload = PacketBuilder.pattern(count)
                $0.flags = 0x99  // CWR, ACK, PSH, FIN
                $0.sequence = .max - 20
                $0.identification = .max
                $0.tcpOptions = [1, 1, 8, 10] + PacketBuilder.pattern(8)
                $0.trafficClass = 0xb9
            }
            let result = cut(Self.header(for: builder, size: size), builder.bytes)
            #expect(result == .packets(Self.expected(builder, size: size)))
        }
    }

    @Test func optionsAndExtensionHeadersAreRepeated() {
        let options = PacketBuilder.tcp4.with {
            $0.ipOptions = [7, 7, 4, 0, 0, 0, 0, 0]
            $0.payload = PacketBuilder.pattern(500)
        }
        #expect(
            cut(Self.header(for: options, size: 200), options.bytes)
                == .packets(Self.expected(options, size: 200)))
        let extended = PacketBuilder.tcp6.with {
            $0.extensionHeaders = [(60, [1] + PacketBuilder.pattern(14))]
            $0.payload = PacketBuilder.pattern(500)
        }
        #expect(
            cut(Self.header(for: extended, size: 200), extended.bytes)
                == .packets(Self.expected(extended, size: 200)))
    }

    @Test func theECNBitOfTheSegmentationTypeIsIgnored() {
        let builder = PacketBuilder.tcp4.with { $0.payload = PacketBuilder.pattern(300) }
        var header = Self.header(for: builder, size: 100)
        header.gsoType |= VirtioNetHeader.gsoECNBit
        #expect(cut(header, builder.bytes) == .packets(Self.expected(builder, size: 100)))
    }

    @Test func plainPacketsPassUntouched() {
        for count in [0, 1, 15, 16, 1_392, 3_000] {
            for base in [PacketBuilder.udp4, .tcp6] {
                let packet = base.with { $0.payload = PacketBuilder.pattern(count) }.bytes
                #expect(cut(VirtioNetHeader(), packet) == .packets([packet]))
                // Bytes behind the IP packet are not part of it.
                #expect(cut(VirtioNetHeader(), packet + [1, 2, 3]) == .packets([packet]))
            }
        }
    }

    @Test(arguments: [PacketBuilder.tcp4, .tcp6, .udp4, .udp6])
    func plainPacketsGetTheirChecksum(base: PacketBuilder) {
        let builder = base.with { $0.payload = PacketBuilder.pattern(77) }
        var header = Self.header(for: builder, size: 0)
        header.gsoType = VirtioNetHeader.gsoNone
        var packet = builder.bytes
        let field = Int(header.checksumStart + header.checksumOffset)
        let length = UInt16(builder.transport.count)
        let pseudo =
            builder.source + builder.destination + [0, builder.number] + PacketBuilder.big(length)
        packet[field...field + 1] = PacketBuilder.big(PacketBuilder.slowSum(pseudo))[...]
        #expect(cut(header, packet) == .packets([builder.bytes]))
    }

    @Test func paddingStopsAtTheLimitUnlessThePacketIsLonger() {
        let packet = PacketBuilder.udp4.with { $0.payload = PacketBuilder.pattern(70) }.bytes
        for limit in [0, 97, 98, 99, 111, 112, 113, 1_420] {
            #expect(cut(VirtioNetHeader(), packet, paddingLimit: limit) == .packets([packet]))
        }
    }

    @Test func trafficClassIsToldBeforeCutting() {
        let room = [UInt8](repeating: 0, count: 16)
        let packet = PacketBuilder.tcp6.with { $0.trafficClass = 0xbb }.bytes + room
        ByteArena.withCopy(of: packet) { region in
            let outcome = Segmenter.make(
                header: VirtioNetHeader(), frame: region.prefix(packet.count - 16),
                capacityAfter: 16, paddingLimit: 1_420)
            guard case .segmenter(let segmenter) = outcome else {
                Issue.record("refused")
                return
            }
            #expect(segmenter.trafficClass == 0xbb)
            #expect(segmenter.trafficClassECN == .ce)
            #expect(segmenter.lastPacketCount == 0)
        }
    }
}

@Suite struct SegmenterFaultTests {
    private let builder = PacketBuilder.tcp4.with { $0.payload = PacketBuilder.pattern(3_000) }

    private func fault(
        _ change: (inout VirtioNetHeader, inout [UInt8]) -> Void
    ) -> Cut {
        var header = SegmenterTests.header(for: builder, size: 1_000)
        var frame = builder.bytes
        change(&header, &frame)
        return cut(header, frame)
    }

    @Test func framesThatAreNotIPAreInvalid() {
        #expect(cut(VirtioNetHeader(), []) == .invalid(.notIP))
        #expect(cut(VirtioNetHeader(), [0x45]) == .invalid(.notIP))
        #expect(cut(VirtioNetHeader(), [UInt8](repeating: 0, count: 60)) == .invalid(.notIP))
        #expect(fault { $1.removeLast() } == .invalid(.notIP))
    }

    @Test func framesBeyondTheLongestPacketAreInvalid() {
        let longest = PacketBuilder.udp4.with {
            $0.payload = [UInt8](repeating: 1, count: 65_535 - 28)
        }.bytes
        #expect(cut(VirtioNetHeader(), longest) == .packets([longest]))
        #expect(cut(VirtioNetHeader(), longest + [0]) == .invalid(.tooLong))
    }

    @Test func segmentSizesOfZeroAndOddTypesAreInvalid() {
        #expect(fault { header, _ in header.gsoSize = 0 } == .invalid(.segmentSizeZero))
        for type in [UInt8(2), 3, 6, 7, 0x7f, 0x83] {
            #expect(
                fault { header, _ in header.gsoType = type } == .invalid(.unknownSegmentation))
        }
        #expect(fault { header, _ in header.gsoType = 4 } == .invalid(.wrongHeaders))
        #expect(fault { header, _ in header.gsoType = 5 } == .invalid(.wrongHeaders))
    }

    @Test func misplacedChecksumsAreInvalid() {
        for start in [UInt16(0), 19, 21, 24, .max] {
            #expect(fault { header, _ in header.checksumStart = start } == .invalid(.wrongHeaders))
        }
        for offset in [UInt16(0), 6, 15, 17, .max] {
            #expect(
                fault { header, _ in header.checksumOffset = offset } == .invalid(.wrongHeaders))
        }
        var plain = VirtioNetHeader()
        plain.flags = VirtioNetHeader.needsChecksumFlag
        let packet = PacketBuilder.udp4.bytes  // 28 bytes
        let cases: [(UInt16, UInt16, Bool)] = [
            (20, 6, true), (20, 7, false), (19, 6, false), (26, 0, true), (27, 0, false),
            (.max, .max, false), (0, 26, false),
        ]
        for (start, offset, isValid) in cases {
            plain.checksumStart = start
            plain.checksumOffset = offset
            let isInvalid = cut(plain, packet) == .invalid(.checksumOutside)
            #expect(isInvalid == !isValid, "\(start) \(offset)")
        }
    }

    @Test func framesCutToPiecesTooManyAreInvalid() {
        for (count, isValid) in [(1_024, true), (1_025, false)] {
            let builder = PacketBuilder.udp4.with { $0.payload = PacketBuilder.pattern(count * 3) }
            let result = cut(SegmenterTests.header(for: builder, size: 3), builder.bytes)
            #expect((result == .invalid(.tooManySegments)) == !isValid)
        }
    }

    @Test func headersThatClaimTooMuchAreInvalid() {
        #expect(fault { $1[32] = 0x40 } == .invalid(.wrongHeaders))
        let bare = PacketBuilder.tcp4
        var frame = bare.bytes
        #expect(cut(SegmenterTests.header(for: bare, size: 10), frame) == .invalid(.truncated))
        frame[32] = 0xf0
        #expect(cut(SegmenterTests.header(for: bare, size: 10), frame) == .invalid(.truncated))
        #expect(fault { $1[6] = 0x20 } == .invalid(.fragment))
        #expect(fault { $1.append(0) } == .invalid(.lengthMismatch))
        let long = PacketBuilder.tcp6.with {
            $0.extensionHeaders = [(60, [24] + [UInt8](repeating: 0, count: 198))]
            $0.payload = PacketBuilder.pattern(100)
        }
        #expect(
            cut(SegmenterTests.header(for: long, size: 10), long.bytes) == .invalid(.wrongHeaders))
    }

    @Test func noRoomForPaddingIsInvalid() {
        let packet = PacketBuilder.udp4.bytes + [UInt8](repeating: 0, count: 16)
        ByteArena.withCopy(of: packet) { region in
            let outcome = Segmenter.make(
                header: VirtioNetHeader(), frame: region.prefix(packet.count - 16),
                capacityAfter: 15, paddingLimit: 1_420)
            guard case .invalid(.noRoomForPadding) = outcome else {
                Issue.record("accepted")
                return
            }
        }
    }
}
