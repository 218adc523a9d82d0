import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct IPPacketTests {
    @Test func fieldsOfIPv4AreRead() {
        let builder = PacketBuilder.udp4.with {
            $0.payload = PacketBuilder.pattern(9)
            $0.ipOptions = [1, 1, 1, 0]
        }
        ByteArena.withCopy(of: builder.bytes + [0, 0, 0]) { region in
            guard let packet = IPPacket(region) else {
                Issue.record("refused")
                return
            }
            #expect(packet.version == 4)
            #expect(packet.headerCount == 24)
            #expect(packet.totalCount == 24 + 8 + 9)
            #expect(packet.region.count == packet.totalCount)
            #expect(packet.transportOffset == 24)
            #expect(packet.protocol == 17)
            #expect(packet.source.description == "10.0.0.1")
            #expect(packet.destination.description == "10.0.0.2")
            #expect(packet.sourceIPv4 == 0x0a00_0001)
            #expect(packet.hasTransport && !packet.isFragment)
        }
    }

    @Test func onlyIPv4WithoutDontFragmentMayBeFragmented() {
        func mayBeFragmented(_ packet: [UInt8]) -> Bool? {
            ByteArena.withCopy(of: packet) { IPPacket($0)?.mayBeFragmented }
        }
        for (fragment, expected) in [
            (0x0000, true), (0x4000, false), (0x2000, true), (0x6000, false), (0x8000, true),
            (0xbfff, true), (0x4001, false),
        ] as [(UInt16, Bool)] {
            let packet = PacketBuilder.udp4.with { $0.fragment = fragment }.bytes
            #expect(mayBeFragmented(packet) == expected)
        }
        // Bytes 6 and 7 are something else there.
        for hops: UInt8 in [0, 64, 255] {
            let packet = PacketBuilder.udp6.with { $0.timeToLive = hops }.bytes
            #expect(mayBeFragmented(packet) == false)
        }
    }

    @Test func extensionHeadersOfIPv6AreWalked() {
        let headers: [(number: UInt8, rest: [UInt8])] = [
            (0, [0] + [UInt8](repeating: 0, count: 6)),
            (60, [1] + [UInt8](repeating: 0, count: 14)),
            (43, [0] + [UInt8](repeating: 0, count: 6)),
            (51, [1] + [UInt8](repeating: 0, count: 10)),
            (44, [0, 0, 0, 9, 9, 9, 9]),
        ]
        let builder = PacketBuilder.tcp6.with { $0.extensionHeaders = headers }
        ByteArena.withCopy(of: builder.bytes) { region in
            let packet = IPPacket(region)
            #expect(packet?.transportOffset == 40 + 8 + 16 + 8 + 12 + 8)
            #expect(packet?.protocol == 6)
            // A fragment header with offset 0 and nothing to follow is a whole packet.
            #expect(packet?.isFragment == false)
            #expect(packet?.hasTransport == true)
        }
    }

    @Test(arguments: [(0x0001, true, true), (0x0008, true, false), (0xfff9, true, false)])
    func fragmentsOfIPv6AreTold(word: UInt16, isFragment: Bool, hasTransport: Bool) {
        let builder = PacketBuilder.udp6.with {
            $0.extensionHeaders = [(44, [0] + PacketBuilder.big(word) + [1, 2, 3, 4])]
        }
        ByteArena.withCopy(of: builder.bytes) { region in
            let packet = IPPacket(region)
            #expect(packet?.isFragment == isFragment)
            #expect(packet?.hasTransport == hasTransport)
        }
    }

    @Test(arguments: [
        (0x0000, false, true), (0x4000, false, true), (0x2000, true, true), (0x0001, true, false),
        (0x3fff, true, false),
    ])
    func fragmentsOfIPv4AreTold(word: UInt16, isFragment: Bool, hasTransport: Bool) {
        ByteArena.withCopy(of: PacketBuilder.udp4.with { $0.fragment = word }.bytes) { region in
            let packet = IPPacket(region)
            #expect(packet?.isFragment == isFragment)
            #expect(packet?.hasTransport == hasTransport)
            #expect(packet?.transport.count == (hasTransport ? 8 : 0))
        }
    }

    @Test func chainsOfExtensionHeadersAreFollowedEightDeep() {
        for count in 7...10 {
            let builder = PacketBuilder.udp6.with {
                $0.extensionHeaders = Array(
                    repeating: (60, [UInt8](repeating: 0, count: 7)), count: count)
            }
            let isFound = ByteArena.withCopy(of: builder.bytes) { IPPacket($0)?.hasTransport }
            #expect(isFound == (count <= 8))
        }
    }

    @Test func lengthsThatDoNotFitAreRefused() {
        for builder in [PacketBuilder.tcp4, .tcp6] {
            let whole = builder.with { $0.payload = [1, 2, 3] }.bytes
            #expect(ByteArena.withCopy(of: whole) { IPPacket($0) != nil })
            for count in 0..<whole.count {
                let cut = Array(whole[..<count])
                #expect(ByteArena.withCopy(of: cut) { IPPacket($0) == nil }, "\(count)")
            }
        }
        var short = PacketBuilder.tcp4.bytes
        short[0] = 0x44
        #expect(ByteArena.withCopy(of: short) { IPPacket($0) == nil })
        short[0] = 0x4f  // 60 bytes of header in a packet of 40
        #expect(ByteArena.withCopy(of: short) { IPPacket($0) == nil })
        for version in [UInt8(0), 3, 5, 7, 15] {
            short[0] = version << 4 | 5
            #expect(ByteArena.withCopy(of: short) { IPPacket($0) == nil })
        }
    }
}

@Suite struct FlowHashTests {
    private func hash(_ packet: [UInt8], seed: UInt32 = 0) -> UInt32 {
        ByteArena.withCopy(of: packet) { flowHash(of: $0, seed: seed) }
    }

    @Test func packetsOfOneFlowAreEqualAndOthersDiffer() {
        for base in [PacketBuilder.tcp4, .udp4, .tcp6, .udp6] {
            let first = hash(base.bytes)
            let same = base.with {
                $0.payload = [1, 2]
                $0.sequence = 99
                $0.trafficClass = 7
                $0.identification = 5
                $0.timeToLive = 3
            }
            #expect(hash(same.bytes) == first)
            #expect(hash(base.with { $0.sourcePort = 1 }.bytes) != first)
            #expect(hash(base.with { $0.destinationPort = 1 }.bytes) != first)
            #expect(hash(base.with { $0.source[3] ^= 1 }.bytes) != first)
            #expect(hash(base.with { $0.destination[3] ^= 1 }.bytes) != first)
            #expect(hash(base.bytes, seed: 1) != first)
        }
    }

    @Test func fragmentsOfOnePacketStayTogether() {
        let first = PacketBuilder.udp4.with { $0.fragment = 0x2000 }
        let later = PacketBuilder.udp4.with {
            $0.fragment = 0x0010
            $0.sourcePort = 9
            $0.destinationPort = 9
        }
        #expect(hash(first.bytes) == hash(later.bytes))
        #expect(hash(first.bytes) != hash(first.with { $0.identification = 3 }.bytes))
        let first6 = PacketBuilder.udp6.with {
            $0.extensionHeaders = [(44, [0, 0, 1, 1, 2, 3, 4])]
        }
        let later6 = first6.with {
            $0.extensionHeaders = [(44, [0, 0, 16, 1, 2, 3, 4])]
            $0.sourcePort = 9
        }
        #expect(hash(first6.bytes) == hash(later6.bytes))
    }

    @Test func portsSpreadOverThePlaces() {
        var counts = [Int](repeating: 0, count: 64)
        for port in UInt16(0)..<6_400 {
            let packet = PacketBuilder.udp4.with { $0.sourcePort = port }.bytes
            counts[Int(hash(packet) & 63)] += 1
        }
        #expect(counts.allSatisfy { (50...160).contains($0) })
    }
}
